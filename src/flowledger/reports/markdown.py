"""Reports as one Markdown document."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any, BinaryIO

from flowledger.domain.certificates import Certificate
from flowledger.domain.figures import Figures, ProblemRun
from flowledger.domain.phrases import period_word, status_word
from flowledger.domain.reasons import reason_text
from flowledger.domain.report_heading import Heading, user_of
from flowledger.domain.runs import STATUS_ORDER, Entry, RunStatus
from flowledger.domain.texts import mend, one_line, show_controls
from flowledger.io.atomic import naming_file
from flowledger.io.json_text import JsonStyle
from flowledger.reports.artifacts import append, closing
from flowledger.reports.catalogue import Texts, texts_in
from flowledger.reports.cells import (
    ABSENT,
    as_mapping,
    at,
    cost_text,
    creator_of,
    moment,
    number,
    seconds_text,
    speed_text,
)
from flowledger.reports.rows import Paging, Row, typed_row

_ACTIVE = re.compile(r"[\\`*\[\]|]")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_ENTITY = re.compile("[&<>]")
_LINE_END = re.compile("\r\n|[\n\r\x0b\x0c\x85\u2028\u2029]")
_FOREIGN = re.compile(r"[^\w .,:;()/@+=\-，。：；！？（）、“”]")
"""Any character that may need escaping: most texts have none, and one search finds that out."""
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
        """Return a value as text of a table cell."""
        if value is None and not self.verbatim:
            return ""
        text = str(value)
        if not _FOREIGN.search(text):
            return text
        return mend(text) if self.verbatim else _LINE_END.sub("<br>", _escaped(show_controls(text)))

    def heading(self, value: Any) -> str:
        """Return a value as text of a heading or of a paragraph of one line."""
        text = str(value)
        if not _FOREIGN.search(text):
            return text
        return mend(text) if self.verbatim else _escaped(one_line(text)).replace("#", r"\#")

    def code(self, value: Any) -> str:
        """Return a value as a code span, also inside a table."""
        text = str(value)
        if not _FOREIGN.search(text):
            return f"`{text}`"
        if self.verbatim:
            return f"`{mend(text)}`"
        return f"`{one_line(text).replace('`', chr(39)).replace('|', chr(92) + '|')}`"

    def fence(self, value: Any) -> list[str]:
        """Return the lines of a fenced block with a JSON value, JSON texts inside it parsed."""
        text = JsonStyle(nested=True, bare=self.verbatim).render(value).decode()
        # A fence ends at the first run of as many backticks, so it must be longer than any run inside.
        ticks = _FENCE
        if not self.verbatim and _FENCE in text:
            ticks = "`" * (max(map(len, _TICKS.findall(text))) + 1)
        return [f"{ticks}json", text, ticks, ""]


def _escaped(text: str) -> str:
    return _ENTITY.sub(lambda match: _ENTITIES[match[0]], _ACTIVE.sub(r"\\\g<0>", text))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, dashes: int = 5) -> list[str]:
    """Return a table of escaped cells; ``dashes`` is the length of the rule of each column but the first."""
    lines = [f"| {' | '.join(columns)} |", "|------|" + f"{'-' * dashes}|" * (len(columns) - 1)]
    return [*lines, *map(_table_row, rows), ""]


def _table_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


SAFE = MarkdownStyle()
VERBATIM = MarkdownStyle(verbatim=True)


_PAYLOADS = ("inputs", "process_data", "outputs")

Cells = list[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class RunSection:
    """Renders rows as sections; times are shown in ``tz`` (None: the machine's zone)."""

    texts: Texts
    style: MarkdownStyle
    tz: tzinfo | None

    def render(self, number_: int, row: Row) -> str:
        """Return the section of a run; the number counts from 1."""
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
            (texts["status"], cell(self._status(run))),
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
                (texts["status"], cell(self._status(detail))),
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
            (texts["status"], cell(self._status(node))),
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
        why = reason if self.style.verbatim else reason_text(str(reason), self.texts["language"])
        message = f"{self.texts['fetch_failed']}: {self.style.heading(why)}"
        return [f"#### {self.texts[title]}", "", message, ""]

    def _status(self, part: Row) -> Any:
        status = part.get("status", ABSENT)
        is_plain = self.style.verbatim or not isinstance(status, str)
        return status if is_plain else status_word(status, self.texts["language"])

    def _seconds(self, part: Row) -> str:
        return f"{number(part.get('elapsed_time', 0)):.2f} {self.texts['seconds']}"


Lines = list[str]


def title(texts: Texts, generated_at: datetime, tz: tzinfo | None) -> Lines:
    """Return the document's heading."""
    return [f"# {texts['title']}", "", f"{texts['generated_at']}: {at(generated_at, tz)}", ""]


def totals(texts: Texts, style: MarkdownStyle, paging: Paging, statuses: Mapping[str, int]) -> Lines:
    """Return the old script's summary: how many records, and how many of each status."""
    rows = [(texts[key], str(value)) for key, value in paging.items(texts)]
    lines = [f"## {texts['summary']}", "", *table((texts["item"], texts["value"]), rows)]
    if statuses:
        counted = [(style.cell(status), str(statuses[status])) for status in statuses]
        counts = table((texts["status"], texts["count"]), counted, dashes=6)
        lines += [f"### {texts['status_counts']}", "", *counts]
    return lines


def proof(texts: Texts, style: MarkdownStyle, heading: Heading) -> Lines:
    """Return app, period and window of the report, and its certificate."""
    window = heading.window
    rows = [
        (texts["app"], style.cell(heading.app_name)),
        (texts["period"], style.cell(period_word(heading.period, heading.language))),
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
    """Return a certificate as names and values."""
    if certificate is None:
        return [(texts["verdict"], texts["no_certificate"])]
    items = [
        (texts["verdict"], texts["certified" if certificate.certified else "uncertified"]),
        (texts["reason"], reason_text(certificate.reason, texts["language"])),
        (texts["distinct"], str(certificate.distinct)),
        (texts["certified_at"], at(certificate.at, tz)),
    ]
    if certificate.expected is not None:
        items.insert(2, (texts["expected"], str(certificate.expected)))
    if certificate.retained:
        items.append((texts["retained"], str(certificate.retained)))
    return items


def figure_items(texts: Texts, figures: Figures) -> Sequence[tuple[str, str]]:
    """Return the figures as names and values."""
    return [
        (texts["users"], str(len(figures.users))),
        (texts["conversations"], str(figures.conversations)),
        (texts["tokens"], str(figures.total_tokens)),
        (texts["speed"], speed_text(texts, figures)),
        (texts["cost"], cost_text(texts, figures, named=True)),
        (texts["p50"], seconds_text(texts, figures.duration_p50_s)),
        (texts["p95"], seconds_text(texts, figures.duration_p95_s)),
        *(
            (texts[key], str(getattr(figures, key)))
            for key in ("detailed", "missing", "open", "stuck", "gone")
        ),
    ]


def findings(texts: Texts, style: MarkdownStyle, figures: Figures, heading: Heading) -> Lines:
    """Return figures, reasons of missing details, notes, and the runs somebody should look at."""
    rows = [(name, style.cell(value)) for name, value in figure_items(texts, figures)]
    lines = [f"## {texts['figures']}", "", *table((texts["item"], texts["value"]), rows)]
    if figures.missing_reasons:
        reasons = [
            (style.cell(reason_text(reason, heading.language)), str(count))
            for reason, count in figures.missing_reasons.items()
        ]
        lines += [f"### {texts['missing_reasons']}", "", *table((texts["reason"], texts["count"]), reasons)]
    if heading.notes:
        lines += [
            f"### {texts['notes']}",
            "",
            *(f"- {style.heading(reason_text(note, heading.language))}" for note in heading.notes),
            "",
        ]
    lines += _runs_to_check(texts, style, "failures", figures.failures, figures.failed, heading.tz)
    lines += _runs_to_check(texts, style, "stuck_runs", figures.stuck_runs, figures.stuck, heading.tz)
    return lines


def _runs_to_check(
    texts: Texts, style: MarkdownStyle, name: str, runs: Sequence[ProblemRun], total: int, tz: tzinfo | None
) -> Lines:
    if not runs:
        return []
    columns = tuple(texts[key] for key in ("run_id", "created_at", "status", "node", "error"))
    rows = [
        (
            style.code(run.run_id),
            at(run.at, tz),
            style.cell(status_word(run.source_status, texts["language"])),
            style.cell(run.node or ""),
            style.cell(run.error),
        )
        for run in runs
    ]
    cut = [texts["list_cut"].format(shown=len(runs), total=total), ""] if total > len(runs) else []
    return [f"### {texts[name]}", "", *table(columns, rows), *cut]


FILE_NAME = "report.md"
DETAILS_NAME = "report-details.md"


@dataclass(slots=True)
class MarkdownDocument:
    """A document whose runs are spooled, since the summary stands first; ``statuses`` counts them."""

    section: RunSection
    body: BinaryIO
    count: int = 0
    statuses: Counter[str] = field(default_factory=Counter)

    def add(self, row: Row) -> None:
        """Write the section of one run."""
        self.count += 1
        run = as_mapping(row.get("workflow_run"))
        self.statuses[str(run.get("status") or self.section.texts["unknown"])] += 1
        rule = "\n---\n\n" if self.count > 1 else "\n"
        self.body.write(f"{rule}{self.section.render(self.count, row)}".encode())

    def finish(self, summary: Sequence[str], out: BinaryIO) -> None:
        """Write title and summary (lines), then the runs."""
        lines = [*summary, f"## {self.section.texts['runs']}", ""]
        out.write(mend("\n".join(lines)).encode())
        append(self.body, out)


LISTED_RUNS = 200
"""How many runs the summary lists, the newest; the details have all."""


@dataclass(slots=True)
class _Writer:
    """Writes a line a run into the summary and, where these are wanted, a section into the details."""

    heading: Heading
    path: Path
    texts: Texts
    details: BinaryIO | None
    count: int = 0
    statuses: Counter[RunStatus] = field(default_factory=Counter)
    lines: Lines = field(default_factory=list)

    def add(self, entry: Entry) -> None:
        heading = self.heading
        line, section = self._line(entry), ""
        if self.details is not None:
            row = typed_row(entry, with_details=heading.with_details, with_nodes=heading.with_nodes)
            section = mend(RunSection(self.texts, SAFE, heading.tz).render(self.count + 1, row))
        self.count += 1
        self.statuses[entry.run.status] += 1
        if len(self.lines) < LISTED_RUNS:
            self.lines.append(line)
        if self.details is not None:
            rule = "\n---\n\n" if self.count > 1 else "\n"
            with naming_file(self.path):
                self.details.write(f"{rule}{section}".encode())

    def finish(self, figures: Figures) -> Sequence[Path]:
        texts, heading = self.texts, self.heading
        paging = Paging(total=self.count, records=self.count, limit=self.count)
        lines = [
            *title(texts, heading.generated_at, heading.tz),
            *totals(texts, SAFE, paging, self._counted()),
            *proof(texts, SAFE, heading),
            *findings(texts, SAFE, figures, heading),
            *self._runs(),
        ]
        with naming_file(self.path):
            self.path.write_bytes(mend("\n".join(lines)).encode())
        return [self.path] if self.details is None else [self.path, self.path.with_name(DETAILS_NAME)]

    def _counted(self) -> Mapping[str, int]:
        """Return the number of runs of each status, in the one order of statuses."""
        language = self.heading.language
        return {
            status_word(status.value, language): self.statuses[status]
            for status in STATUS_ORDER
            if self.statuses[status]
        }

    def _line(self, entry: Entry) -> str:
        run = entry.run
        cells = (
            str(self.count + 1),
            at(run.listed_at, self.heading.tz),
            SAFE.cell(status_word(run.status.value, self.heading.language)),
            SAFE.cell(one_line(user_of(entry) or "")),
            "" if run.elapsed_s is None else f"{run.elapsed_s:.2f}",
            "" if run.total_tokens is None else str(run.total_tokens),
            SAFE.code(run.run_id),
        )
        return _table_row(cells)

    def _runs(self) -> Lines:
        texts = self.texts
        columns = tuple(
            texts[key] for key in ("index", "created_at", "status", "creator", "elapsed", "tokens", "run_id")
        )
        cut = (
            [texts["list_cut"].format(shown=LISTED_RUNS, total=self.count), ""]
            if self.count > LISTED_RUNS
            else []
        )
        where = [] if self.details is None else [texts["details_file"].format(name=DETAILS_NAME), ""]
        return [f"## {texts['runs']}", "", *where, *table(columns, ())[:-1], *self.lines, "", *cut]


@dataclass(frozen=True, slots=True)
class MarkdownFormat:
    """Writes ``report.md``: certificate, figures and a line for each run, for people to open.

    With ``details`` the old script's sections, some 18 KB a run, are in ``DETAILS_NAME`` beside it.
    """

    details: bool = True

    @property
    def name(self) -> str:
        """The format's name in settings and on the command line."""
        return "markdown"

    @contextmanager
    def begin(self, heading: Heading, directory: Path) -> Iterator[_Writer]:
        """Start writing into an empty directory.

        :raises StorageError: when the file cannot be written.
        """
        path, texts = directory / FILE_NAME, texts_in(heading.language)
        if not self.details or not (heading.with_details or heading.with_nodes):
            yield _Writer(heading, path, texts, None)
            return
        beside = directory / DETAILS_NAME
        with naming_file(beside):
            out = beside.open("wb")
        with closing(out, beside):
            lines = [*title(texts, heading.generated_at, heading.tz), f"## {texts['runs']}", ""]
            with naming_file(beside):
                out.write(mend("\n".join(lines)).encode())
            yield _Writer(heading, path, texts, out)
