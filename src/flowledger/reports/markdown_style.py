"""What may stand in a Markdown cell, heading, code span or fence."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from flowledger.domain.texts import mend, one_line, show_controls
from flowledger.reports.json_text import JsonStyle

_ACTIVE = re.compile(r"[\\`*\[\]|]")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_ENTITY = re.compile("[&<>]")
_LINE_END = re.compile("\r\n|[\n\r\x0b\x0c\x85\u2028\u2029]")
_FOREIGN = re.compile(r"[^\w .,:;()/@+=\-，。：；！？（）、“”]")
"""Any sign that may need care: most texts have none, and one search tells."""
_FENCE = "```"
_TICKS = re.compile("`{3,}")


@dataclass(frozen=True, slots=True)
class MarkdownStyle:
    """How foreign text enters the document.

    The safe style escapes everything that Markdown or HTML would act on, and fences reach beyond any run of
    backticks inside.  The verbatim style is the old script's: texts as they are.
    """

    verbatim: bool = False

    def cell(self, value: Any) -> str:
        """Show a value in a table cell."""
        if value is None and not self.verbatim:
            return ""
        text = str(value)
        if not _FOREIGN.search(text):
            return text
        return mend(text) if self.verbatim else _LINE_END.sub("<br>", _escaped(show_controls(text)))

    def heading(self, value: Any) -> str:
        """Show a value in a heading or a paragraph of one line."""
        text = str(value)
        if not _FOREIGN.search(text):
            return text
        return mend(text) if self.verbatim else _escaped(one_line(text)).replace("#", r"\#")

    def code(self, value: Any) -> str:
        """Show a value as a code span, also inside a table."""
        text = str(value)
        if not _FOREIGN.search(text):
            return f"`{text}`"
        if self.verbatim:
            return f"`{mend(text)}`"
        return f"`{one_line(text).replace('`', chr(39)).replace('|', chr(92) + '|')}`"

    def fence(self, value: Any) -> list[str]:
        """Show a JSON value in a fenced block, JSON texts inside it parsed."""
        text = JsonStyle(nested=True, bare=self.verbatim).render(value).decode()
        ticks = _FENCE
        if not self.verbatim and _FENCE in text:
            ticks = "`" * (max(map(len, _TICKS.findall(text))) + 1)
        return [f"{ticks}json", text, ticks, ""]


def _escaped(text: str) -> str:
    return _ENTITY.sub(lambda found: _ENTITIES[found[0]], _ACTIVE.sub(r"\\\g<0>", text))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, dashes: int = 5) -> list[str]:
    """Write a table of cells that are escaped already; ``dashes`` rule off each column but the first."""
    lines = [f"| {' | '.join(columns)} |", "|------|" + f"{'-' * dashes}|" * (len(columns) - 1)]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


SAFE = MarkdownStyle()
VERBATIM = MarkdownStyle(verbatim=True)
