"""A file per command group: arguments in, messages out, an exit code."""
