"""The sections of a Markdown report that stand before its runs."""

from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo

from flowledger.domain.certificates import Certificate
from flowledger.domain.figures import KEPT_TROUBLES, Figures, Trouble
from flowledger.domain.reports import Heading
from flowledger.reports.cells import at
from flowledger.reports.markdown_style import MarkdownStyle, table
from flowledger.reports.numbers import cost_text, seconds_text, speed_text
from flowledger.reports.paging import Paging
from flowledger.reports.texts import Texts

Lines = list[str]


def title(texts: Texts, generated_at: datetime, tz: tzinfo | None) -> Lines:
    """Write the document's heading."""
    return [f"# {texts['title']}", "", f"{texts['generated_at']}: {at(generated_at, tz)}", ""]


def totals(texts: Texts, style: MarkdownStyle, paging: Paging, statuses: Mapping[str, int]) -> Lines:
    """Write the old script's summary: how many records, and how many of each status."""
    rows = [(texts[key], str(value)) for key, value in paging.items(texts)]
    lines = [f"## {texts['summary']}", "", *table((texts["item"], texts["value"]), rows)]
    if statuses:
        counted = [(style.cell(status), str(statuses[status])) for status in sorted(statuses)]
        counts = table((texts["status"], texts["count"]), counted, dashes=6)
        lines += [f"### {texts['status_counts']}", "", *counts]
    return lines


def proof(texts: Texts, style: MarkdownStyle, heading: Heading) -> Lines:
    """Write what the report is about and what was proved about it."""
    window = heading.window
    rows = [
        (texts["app"], style.cell(heading.app_name)),
        (texts["period"], style.cell(heading.period)),
        (texts["window"], f"{at(window.after_at, heading.tz)} – {at(window.before_at, heading.tz)}"),
        (texts["zone"], style.cell(heading.tz)),
        *(
            (name, style.cell(value))
            for name, value in certificate_items(texts, heading.certificate, heading.tz)
        ),
    ]
    return [f"## {texts['proof']}", "", *table((texts["item"], texts["value"]), rows)]


def certificate_items(
    texts: Texts, certificate: Certificate | None, tz: tzinfo | None
) -> Sequence[tuple[str, str]]:
    """Say in names and values what was proved."""
    if certificate is None:
        return [(texts["verdict"], texts["no_certificate"])]
    items = [
        (texts["verdict"], texts["certified" if certificate.certified else "uncertified"]),
        (texts["reason"], certificate.reason),
        (texts["distinct"], str(certificate.distinct)),
        (texts["certified_at"], at(certificate.at, tz)),
    ]
    if certificate.expected is not None:
        items.insert(2, (texts["expected"], str(certificate.expected)))
    if certificate.retained:
        items.append((texts["retained"], str(certificate.retained)))
    return items


def figure_items(texts: Texts, figures: Figures) -> Sequence[tuple[str, str]]:
    """Say the figures in names and values."""
    return [
        (texts["users"], str(len(figures.users))),
        (texts["conversations"], str(figures.conversations)),
        (texts["tokens"], str(figures.total_tokens)),
        (texts["speed"], speed_text(texts, figures)),
        (texts["cost"], cost_text(figures.cost, named=True)),
        (texts["p50"], seconds_text(texts, figures.duration_p50_s)),
        (texts["p95"], seconds_text(texts, figures.duration_p95_s)),
        *(
            (texts[key], str(getattr(figures, key)))
            for key in ("detailed", "missing", "open", "stuck", "gone")
        ),
    ]


def findings(texts: Texts, style: MarkdownStyle, figures: Figures, heading: Heading) -> Lines:
    """Write figures, reasons for what is missing, notes, and the runs somebody should look at."""
    rows = [(name, style.cell(value)) for name, value in figure_items(texts, figures)]
    lines = [f"## {texts['figures']}", "", *table((texts["item"], texts["value"]), rows)]
    if figures.missing_reasons:
        reasons = [(style.cell(reason), str(count)) for reason, count in figures.missing_reasons.items()]
        lines += [f"### {texts['missing_reasons']}", "", *table((texts["reason"], texts["count"]), reasons)]
    if heading.notes:
        lines += [f"### {texts['notes']}", "", *(f"- {style.heading(note)}" for note in heading.notes), ""]
    lines += _troubles(texts, style, "failures", figures.failures, heading.tz)
    lines += _troubles(texts, style, "stuck_runs", figures.stuck_runs, heading.tz)
    return lines


def _troubles(
    texts: Texts, style: MarkdownStyle, name: str, troubles: Sequence[Trouble], tz: tzinfo | None
) -> Lines:
    if not troubles:
        return []
    columns = tuple(texts[key] for key in ("run_id", "created_at", "status", "node", "error"))
    rows = [
        (
            style.code(trouble.run_id),
            at(trouble.at, tz),
            style.cell(trouble.source_status),
            style.cell(trouble.node or ""),
            style.cell(trouble.error),
        )
        for trouble in troubles
    ]
    cut = [texts["list_cut"].format(shown=KEPT_TROUBLES), ""] if len(troubles) == KEPT_TROUBLES else []
    return [f"### {texts[name]}", "", *table(columns, rows), *cut]
