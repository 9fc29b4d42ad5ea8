"""The methods, one file for each source."""
