"""The berth command: one module per subcommand."""
