"""``python -m flowledger``."""

from flowledger.cli.main import main

main()
