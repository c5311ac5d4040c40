"""The text beside the CSV files: what was proved, what is missing, what a reader should know."""

from flowledger.domain.figures import Figures
from flowledger.domain.reports import Heading
from flowledger.domain.texts import one_line
from flowledger.reports.cells import at
from flowledger.reports.markdown_summary import certificate_items, figure_items
from flowledger.reports.texts import Texts

LINE_END = "\r\n"


def notes_text(texts: Texts, heading: Heading, figures: Figures, cells_cut: int = 0) -> str:
    """Write the notes, one fact a line, lines ended by CRLF; times in the heading's zone."""
    window = heading.window
    facts = [
        (texts["app"], heading.app_name),
        (texts["period"], heading.period),
        (texts["window"], f"{at(window.after_at, heading.tz)} – {at(window.before_at, heading.tz)}"),
        (texts["zone"], str(heading.tz)),
        (texts["generated_at"], at(heading.generated_at, heading.tz)),
        *certificate_items(texts, heading.certificate, heading.tz),
        (texts["total"], str(figures.runs)),
        *figure_items(texts, figures),
    ]
    lines = [f"{name}: {one_line(value)}" for name, value in facts]
    lines += _listed(
        texts["missing_reasons"], [f"{one_line(why)}: {n}" for why, n in figures.missing_reasons.items()]
    )
    notes = [one_line(note) for note in heading.notes]
    if cells_cut:
        notes.append(texts["cells_cut"].format(count=cells_cut))
    lines += _listed(texts["notes"], notes)
    lines += _listed(texts["stuck_runs"], [run.run_id for run in figures.stuck_runs])
    return LINE_END.join([*lines, ""])


def _listed(title: str, items: list[str]) -> list[str]:
    return ["", f"{title}:", *(f"  - {item}" for item in items)] if items else []
