"""One module per `nanogrid` subcommand."""
