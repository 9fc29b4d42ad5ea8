"""The command line: a file for each command, and one for each kind of argument they share."""
