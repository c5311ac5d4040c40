"""What a run leaves in the Prefect UI: its figures as Markdown, its failures as a table."""

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flowledger.domain.figures import ProblemRun
from flowledger.domain.texts import clip, one_line
from flowledger.services.pipeline import RunResult

LONGEST_ERROR = 300


def artifact_key(name: str, app: str) -> str:
    """Make a key as Prefect wants it: lower-case letters, digits and dashes, one for each app."""
    slug = re.sub(r"[^a-z0-9]+", "-", app.lower()).strip("-")
    if slug and slug == app:
        return f"{name}-{slug}"
    distinct = sha256(app.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return "-".join(part for part in (name, slug, distinct) if part)


def publish(result: RunResult, failures: Sequence[ProblemRun]) -> None:
    """Leave both artifacts of one finished run."""
    app = result.app
    create_markdown_artifact(
        markdown_of(result), key=artifact_key("report", app), description=f"{app}: {result.period}"
    )
    create_table_artifact(
        [failure_row(trouble) for trouble in failures] or [{"run": "none failed"}],
        key=artifact_key("failures", app),
        description=f"{app}: failed, partial and interrupted runs",
    )


def markdown_of(result: RunResult) -> str:
    """Write the figures of a result as Markdown."""
    certificate = result.certificate
    proof = "certified" if certificate.certified else "NOT certified"
    rows = {
        "Window": f"{result.window.after} to {result.window.before}",
        "Certificate": f"{proof}: {certificate.reason}"
        f" (source {_total(certificate.expected)}, seen {certificate.distinct})",
        "Runs": result.logs_count,
        "By status": _pairs(result.by_status),
        "Open, of which stuck": f"{result.open}, {result.stuck}",
        "Detailed": result.detailed,
        "Missing details": f"{result.missing} {_pairs(result.missing_reasons)}".strip(),
        "Users": result.users,
        "Tokens": result.total_tokens,
        "Cost": _pairs(result.cost) or "none",
        "Requests": result.requests,
        "Duration": f"{result.duration} s",
    }
    lines = [f"# {_cell(result.app)}: {result.period}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {_cell(str(value))} |" for name, value in rows.items()]
    lines += ["", "## Reports", ""] + [f"- `{path}`" for path in result.report_paths]
    if result.notes:
        lines += ["", "## Notes", ""] + [f"- {_cell(note)}" for note in result.notes]
    return "\n".join(lines) + "\n"


def failure_row(trouble: ProblemRun) -> dict[str, str]:
    """Give one row of the failures table."""
    return {
        "run": trouble.run_id,
        "at": trouble.at.isoformat(),
        "status": trouble.source_status,
        "node": trouble.node or "",
        "error": clip(trouble.error, LONGEST_ERROR),
    }


def _cell(text: str) -> str:
    """Keep a text inside its table cell, and HTML in it inert."""
    return one_line(text).replace("\\", "\\\\").replace("|", "\\|").replace("`", "\\`").replace("<", "&lt;")


def _total(expected: int | None) -> str:
    return "no total" if expected is None else str(expected)


def _pairs(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
