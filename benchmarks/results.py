"""How a benchmark tells its figures: a table, JSON instead of it, or both with the JSON in a file."""

import argparse
import json
from pathlib import Path

STDOUT = "-"


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


def tell(name: str, figures: object, table: str, where: str | None) -> None:
    """Print a benchmark's figures, and keep them as JSON where ``--json`` says."""
    if where == STDOUT:
        print(json.dumps(figures, indent=2))
        return
    print(table, flush=True)
    if where:
        path = Path(where)
        held = json.loads(path.read_text("utf-8")) if path.exists() else {}
        path.write_text(json.dumps({**held, name: figures}, indent=2) + "\n", "utf-8")
