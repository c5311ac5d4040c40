"""One run as a section of Markdown."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from flowledger.reports.cells import ABSENT, as_mapping, creator_of, moment, number
from flowledger.reports.markdown_style import MarkdownStyle, table
from flowledger.reports.rows import Row
from flowledger.reports.texts import Texts

_PAYLOADS = ("inputs", "process_data", "outputs")

Cells = list[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class RunSection:
    """Writes rows as sections; times are shown in ``tz`` (None: the machine's zone)."""

    texts: Texts
    style: MarkdownStyle
    tz: tzinfo | None

    def render(self, number_: int, row: Row) -> str:
        """Write the section of the run with this number, counted from 1; it ends with one line end."""
        lines = [f"### {number_}. {self.texts['run']}: {self.style.code(row.get('id', ABSENT))}", ""]
        lines += self._basics(row)
        lines += self._detail(row)
        lines += self._nodes(row)
        return "\n".join(lines)

    def _basics(self, row: Row) -> list[str]:
        texts, cell = self.texts, self.style.cell
        run = as_mapping(row.get("workflow_run"))
        kind, creator = creator_of(row)
        cells: Cells = [
            (texts["log_id"], self.style.code(row.get("id", ABSENT))),
            (texts["status"], cell(run.get("status", ABSENT))),
            (texts["created_at"], cell(moment(row.get("created_at"), self.tz))),
            (texts["elapsed"], self._seconds(run)),
            (texts["created_from"], cell(row.get("created_from", ABSENT))),
            (texts["creator_type"], texts[kind] if kind else ABSENT),
            (texts["creator"], cell(creator)),
        ]
        return [f"#### {texts['basics']}", "", *self._fields(cells)]

    def _detail(self, row: Row) -> Iterator[str]:
        detail = as_mapping(row.get("workflow_run_detail"))
        if not detail:
            yield from self._failed("run_detail", row.get("workflow_run_detail_error"))
            return
        texts, cell = self.texts, self.style.cell
        yield from (f"#### {texts['run_detail']}", "")
        yield from self._fields(
            [
                (texts["run_id"], self.style.code(detail.get("id", ABSENT))),
                (texts["status"], cell(detail.get("status", ABSENT))),
                (texts["elapsed"], self._seconds(detail)),
                (texts["tokens"], cell(detail.get("total_tokens", 0))),
                (texts["steps"], cell(detail.get("total_steps", 0))),
                (texts["exceptions"], cell(detail.get("exceptions_count", 0))),
                *self._ends(detail),
            ]
        )
        for key in ("inputs", "outputs"):
            if value := detail.get(key):
                yield from (f"##### {texts[f'{key}_title']}", "", *self.style.fence(value))

    def _nodes(self, row: Row) -> Iterator[str]:
        nodes = row.get("node_executions")
        if not nodes:
            yield from self._failed("nodes", row.get("node_executions_error"))
            return
        yield from (f"#### {self.texts['nodes']}", "", self.texts["node_count"].format(count=len(nodes)), "")
        for position, node in enumerate(nodes, 1):
            yield from self._node(position, as_mapping(node))

    def _node(self, position: int, node: Row) -> Iterator[str]:
        texts, cell = self.texts, self.style.cell
        yield from (f"##### {texts['node']} {position}: {self.style.heading(node.get('title', ABSENT))}", "")
        cells: Cells = [
            (texts["node_id"], self.style.code(node.get("node_id", ABSENT))),
            (texts["node_type"], cell(node.get("node_type", ABSENT))),
            (texts["node_title"], cell(node.get("title", ABSENT))),
            (texts["status"], cell(node.get("status", ABSENT))),
            (texts["elapsed"], self._seconds(node)),
            (texts["index"], cell(node.get("index", ABSENT))),
        ]
        if predecessor := node.get("predecessor_node_id"):
            cells.append((texts["predecessor"], self.style.code(predecessor)))
        cells += self._ends(node)
        if not self.style.verbatim and (cut := [name for name in _PAYLOADS if node.get(f"{name}_truncated")]):
            cells.append((texts["truncated"], ", ".join(texts[name] for name in cut)))
        yield from self._fields(cells)
        for key in _PAYLOADS:
            if value := node.get(key):
                yield from (f"**{texts[key]}:**", "", *self.style.fence(value))

    def _ends(self, part: Row) -> Cells:
        """Error and times, where there are any."""
        cells: Cells = [(self.texts["error"], self.style.cell(part["error"]))] if part.get("error") else []
        for key in ("created_at", "finished_at"):
            if part.get(key):
                cells.append((self.texts[key], self.style.cell(moment(part[key], self.tz))))
        return cells

    def _fields(self, cells: Cells) -> list[str]:
        return table((self.texts["field"], self.texts["value"]), cells)

    def _failed(self, title: str, reason: Any) -> list[str]:
        if not reason:
            return []
        told = f"{self.texts['fetch_failed']}: {self.style.heading(reason)}"
        return [f"#### {self.texts[title]}", "", told, ""]

    def _seconds(self, part: Row) -> str:
        return f"{number(part.get('elapsed_time', 0)):.2f} {self.texts['seconds']}"
