#!/usr/bin/env python3
"""Write the tests that prove each row of docs/reliability.md beside it, from their ``fault`` markers.

Usage: scripts/faults.py [--check]

``--check`` writes nothing and ends with status 1 when the table is out of date or a fault has no test.
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "reliability.md"
_ROW = re.compile(r"^\| (?P<number>\d+) \| (?P<fault>[^|]*) \| (?P<promise>[^|]*) \| (?P<tests>[^|]*)\|$")

Proofs = Mapping[int, Sequence[tuple[Path, str]]]
"""By the number of a fault: the files and names of the tests that carry it in their marker."""


def marked(root: Path) -> Proofs:
    """Find the marked tests below a folder, in the order of files and lines; nothing is imported."""
    matches: dict[int, list[tuple[Path, str]]] = defaultdict(list)
    for path in sorted(root.rglob("test_*.py")):
        for test in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(test, ast.FunctionDef):
                for number in sorted(_numbers(test)):
                    matches[number].append((path, test.name))
    return matches


def filled(text: str, proofs: Proofs) -> str:
    """Return the document with the last column of its table as the markers have it."""
    return "".join(f"{_filled_line(line.rstrip(), proofs)}\n" for line in text.splitlines())


def problems(text: str, proofs: Proofs) -> list[str]:
    """Return a line for each fault without a test, each marker without a fault, and an outdated table."""
    rows = {int(row["number"]) for line in text.splitlines() if (row := _ROW.match(line))}
    lines = [f"fault {number} has no test" for number in sorted(rows - proofs.keys())]
    lines += [
        f"{name} in {path.name} is marked with fault {number}, which {TABLE.name} does not have"
        for number in sorted(proofs.keys() - rows)
        for path, name in proofs[number]
    ]
    if filled(text, proofs) != text:
        lines.append(f"{TABLE.name} is out of date: run scripts/faults.py")
    return lines


def main(words: Sequence[str]) -> int:
    """Write or check the table, and give the exit status."""
    proofs, text = marked(ROOT / "tests"), TABLE.read_text("utf-8")
    if "--check" not in words:
        text = filled(text, proofs)
        TABLE.write_text(text, "utf-8")
    listed = problems(text, proofs)
    for problem in listed:
        print(problem, file=sys.stderr)
    return 1 if listed else 0


def _numbers(test: ast.FunctionDef) -> Iterator[int]:
    for decorator in test.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.fault":
            yield from (int(ast.literal_eval(argument)) for argument in decorator.args)


def _filled_line(line: str, proofs: Proofs) -> str:
    row = _ROW.match(line)
    if row is None:
        return line
    tests = _cell(proofs.get(int(row["number"]), ()))
    return f"| {row['number']} | {row['fault']} | {row['promise']} | {tests} |"


def _cell(tests: Sequence[tuple[Path, str]]) -> str:
    """Name tests as the sentences their names are, by file."""
    by_file: dict[Path, list[str]] = {}
    for path, name in tests:
        by_file.setdefault(path, []).append(name.removeprefix("test_").replace("_", " "))
    return "; ".join(
        f"[{path.stem.removeprefix('test_')}](../{path.relative_to(ROOT).as_posix()}): {', '.join(names)}"
        for path, names in by_file.items()
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
