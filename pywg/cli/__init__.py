"""The command line: one small module a subcommand, each imported only when it is asked for."""
