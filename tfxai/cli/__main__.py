"""Runs the command line as ``python -m tfxai.cli``."""

from tfxai.cli.main import main

main()
