"""`python -m firmware` is the `nanogrid` command."""

from firmware.cli import main

main()
