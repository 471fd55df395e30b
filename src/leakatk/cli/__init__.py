"""The command line: one file a command, where everything meets."""
