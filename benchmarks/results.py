"""What all benchmarks share: numbers on the command line, and figures told as a table, as JSON or as both."""

import argparse
import json
from pathlib import Path

STDOUT = "-"


def at_least_one(text: str) -> int:
    """Read a number of things of which there has to be one.

    :raises ArgumentTypeError: for anything else.
    """
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json [FILE]``."""
    parser.add_argument(
        "--json",
        nargs="?",
        const=STDOUT,
        metavar="FILE",
        help="print JSON instead of a table; with a FILE print the table and put the JSON there,\n"
        "under the benchmark's name, beside what other benchmarks put there",
    )


def report_figures(name: str, figures: object, table: str, where: str | None) -> None:
    """Print a benchmark's figures, and save them as JSON in the file that ``--json`` names."""
    if where == STDOUT:
        print(json.dumps(figures, indent=2))
        return
    print(table, flush=True)
    if where:
        path = Path(where)
        existing = json.loads(path.read_text("utf-8")) if path.exists() else {}
        path.write_text(json.dumps({**existing, name: figures}, indent=2) + "\n", "utf-8")
