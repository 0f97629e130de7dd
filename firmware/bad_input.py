"""What commands raise for input that cannot be used."""

import click


class BadInput(click.ClickException):
    """What the user gave cannot be used; one line says why, the exit status is 2."""

    exit_code = 2
