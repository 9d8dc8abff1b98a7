"""The command line. A module of a subcommand is imported when the operator asks for that subcommand."""
