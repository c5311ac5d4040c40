"""The table a person sees at the end of a run."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def show_summary(result: Mapping[str, Any]) -> None:
    """Print what was found and where the reports are."""
    console = Console()
    table = Table(show_header=False, title=f"{result['app']}: {result['period']}", title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in summary_rows(result):
        table.add_row(name, value)
    console.print(table, highlight=False, markup=False)
    console.print("Reports:")
    for path in result["report_paths"]:
        console.print(f"  {path}", highlight=False, markup=False, soft_wrap=True)


def summary_rows(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Give the rows of the table, names first."""
    certificate = result["certificate"]
    proof = "yes" if certificate["certified"] else "NO"
    rows = [
        ("window", f"{result['window']['after']} to {result['window']['before']}"),
        ("runs", f"{result['logs_count']} ({_pairs(result['by_status']) or 'none'})"),
        ("certified", f"{proof}: {certificate['reason']}"),
        ("source counts, seen", f"{_known(certificate['expected'])}, {certificate['distinct']}"),
        ("detailed, missing", f"{result['detailed']}, {result['missing']}"),
    ]
    if certificate["retained"]:
        rows.append(("kept, gone at the source", str(certificate["retained"])))
    rows += [("missing because", f"{reason} ({n})") for reason, n in result["missing_reasons"].items()]
    rows += [
        ("open, of which stuck", f"{result['open']}, {result['stuck']}"),
        ("users", str(result["users"])),
        ("tokens", str(result["total_tokens"])),
        ("cost", _pairs(result["cost"]) or "none"),
        ("requests, seconds", f"{result['requests']}, {result['duration']}"),
    ]
    return rows + [("note", note) for note in result["notes"]]


def _pairs(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _known(total: int | None) -> str:
    return "no total" if total is None else str(total)
