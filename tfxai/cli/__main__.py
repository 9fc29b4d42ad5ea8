"""``python -m tfxai.cli``."""

from tfxai.cli.main import main

main()
