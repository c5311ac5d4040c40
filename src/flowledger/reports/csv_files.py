"""Reports as the four CSV files people open in a spreadsheet, and a text of notes."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date, tzinfo
from pathlib import Path
from typing import Any, TextIO

from flowledger.domain.figures import QUESTION_KEYS, Figures
from flowledger.domain.phrases import period_word
from flowledger.domain.reasons import reason_text
from flowledger.domain.report_heading import Heading, conversation_of, user_of
from flowledger.domain.runs import Detailed, Entry, Missing
from flowledger.domain.spreadsheets import defuse, defuse_formula, needs_quotes
from flowledger.domain.texts import mend, one_line
from flowledger.io.atomic import naming_file
from flowledger.io.json_text import compact
from flowledger.reports.catalogue import Texts, texts_in
from flowledger.reports.cells import (
    ABSENT,
    as_mapping,
    at,
    cost_text,
    cut_cell,
    old_cost_text,
    old_speed_text,
    speed_text,
)
from flowledger.reports.markdown import certificate_items, figure_items

RETRIEVAL = "knowledge-retrieval"

_ANSWER_KEYS = ("text", "answer", "result", "output", "response", "content", "message")
_FILE_MARKS = frozenset(
    {"transfer_method", "related_id", "upload_file_id", "remote_url", "extension", "mime_type"}
)
_SYSTEM = "sys."


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a pair is written: characters of answer and segment, documents, segments; None is all."""

    answer: int | None = None
    segment: int | None = None
    documents: int | None = None
    segments: int | None = None


WHOLE = Limits()
OLD_SCRIPT = Limits(answer=5000, segment=200, documents=5, segments=10)


@dataclass(frozen=True, slots=True)
class Pair:
    """Question and answer of a run; names are distinct, in the order of their first occurrence."""

    question: str
    answer: str
    attachments: Sequence[str]
    datasets: Sequence[str]
    documents: Sequence[str]
    segments: Sequence[str]


def pair_of(entry: Entry, score_word: str, limits: Limits = WHOLE) -> Pair:
    """Return a run's question, answer, attachments and citations; empty where its detail is missing."""
    detail = entry.detail
    if isinstance(detail, Missing):
        return Pair("", "", (), (), (), ())
    hits = list(_hits(detail))
    segments = [_segment(hit, score_word, limits.segment) for hit in hits if hit.get("content")]
    return Pair(
        question=question_of(detail.inputs or {}),
        answer=answer_of(detail.outputs or {})[: limits.answer],
        attachments=attachments_of(detail.inputs or {}),
        datasets=_distinct(_metadata(hit).get("dataset_name") for hit in hits),
        documents=_distinct(_metadata(hit).get("document_name") for hit in hits)[: limits.documents],
        segments=segments[: limits.segments],
    )


def question_of(inputs: Mapping[str, Any]) -> str:
    """Return the question: a well-known input, else the first text that is not one of ``sys.*``."""
    own = {name: value for name, value in inputs.items() if not name.startswith(_SYSTEM)}
    return _first_of(inputs, QUESTION_KEYS) or _first_text(own)


def answer_of(outputs: Mapping[str, Any]) -> str:
    """Return the answer: a well-known output, else the only text, else all outputs as JSON."""
    if not any(_meaningful(value) for value in outputs.values()):
        return ""
    only = _first_text(outputs) if len(outputs) == 1 else ""
    return _first_of(outputs, _ANSWER_KEYS) or only or compact(dict(outputs))


def attachments_of(inputs: Mapping[str, Any]) -> Sequence[str]:
    """Return the names of the files sent: ``sys.files``, then inputs that are files or lists of them."""
    sent = list(_files(inputs.get("sys.files"), any_object=True))
    for name, value in inputs.items():
        if name != "sys.files":
            sent += _files(value, any_object=False)
    return [name for file in sent if (name := str(file.get("name") or file.get("filename") or ""))]


def _first_of(values: Mapping[str, Any], keys: Iterable[str]) -> str:
    for key in keys:
        if _meaningful(value := values.get(key)):
            return _as_text(value)
    return ""


def _first_text(values: Mapping[str, Any]) -> str:
    return next((value for value in values.values() if isinstance(value, str) and value), "")


def _meaningful(value: Any) -> bool:
    return value not in (None, "", [], {})


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else compact(value)


def _files(value: Any, *, any_object: bool) -> Iterator[Mapping[str, Any]]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict) and (any_object or not _FILE_MARKS.isdisjoint(item)):
            yield item


def _hits(detail: Detailed) -> Iterator[Mapping[str, Any]]:
    if isinstance(detail.nodes, Missing):
        return
    for node in detail.nodes:
        if node.node_type == RETRIEVAL and isinstance(node.outputs, dict):
            hits = node.outputs.get("result")
            yield from (hit for hit in hits if isinstance(hit, dict)) if isinstance(hits, list) else ()


def _metadata(hit: Mapping[str, Any]) -> Mapping[str, Any]:
    return as_mapping(hit.get("metadata"))


def _segment(hit: Mapping[str, Any], score_word: str, length: int | None) -> str:
    score = _metadata(hit).get("score", 0)
    has_score = isinstance(score, int | float) and not isinstance(score, bool)
    return f"{score_word}:{f'{score:.4f}' if has_score else ABSENT} {_as_text(hit['content'])[:length]}"


def _distinct(names: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(str(name) for name in names if name))


LINE_END = "\r\n"


def notes_text(texts: Texts, heading: Heading, figures: Figures, cells_cut: int = 0) -> str:
    """Return the notes, one fact a line, lines ended by CRLF; times in the heading's zone."""
    window = heading.window
    facts = [
        (texts["app"], heading.app_name),
        (texts["period"], period_word(heading.period, heading.language)),
        (texts["window"], f"{at(window.after_at, heading.tz)} – {at(window.before_at, heading.tz)}"),
        (texts["zone"], str(heading.tz)),
        (texts["generated_at"], at(heading.generated_at, heading.tz)),
        *certificate_items(texts, heading.certificate, heading.tz),
        (texts["total"], str(figures.runs)),
        *figure_items(texts, figures),
    ]
    lines = [f"{name}: {one_line(value)}" for name, value in facts]
    lines += _listed(
        texts["missing_reasons"],
        [
            f"{one_line(reason_text(why, heading.language))}: {n}"
            for why, n in figures.missing_reasons.items()
        ],
    )
    notes = [one_line(reason_text(note, heading.language)) for note in heading.notes]
    if cells_cut:
        notes.append(texts["cells_cut"].format(count=cells_cut))
    lines += _listed(texts["notes"], notes)
    stuck = [run.run_id for run in figures.stuck_runs]
    if figures.stuck > len(stuck):
        stuck.append(texts["list_cut"].format(shown=len(stuck), total=figures.stuck))
    lines += _listed(texts["stuck_runs"], stuck)
    return LINE_END.join([*lines, ""])


def _listed(title: str, items: list[str]) -> list[str]:
    return ["", f"{title}:", *(f"  - {item}" for item in items)] if items else []


BYTE_ORDER_MARK = "\ufeff"
"""Without it Excel reads the file in the machine's code page, not as UTF-8."""


@dataclass(slots=True)
class CsvSet:
    """The four files: pairs are written as the entries come, the others from the final figures.

    ``turns`` counts down the runs of each conversation, newest first.  Times are shown in ``tz`` (None: the
    machine's zone).  ``cells_cut`` counts the cells cut at Excel's limit; with ``limits`` of the old script
    none is.
    """

    directory: Path
    texts: Texts
    tz: tzinfo | None
    limits: Limits = WHOLE
    turns: dict[str, int] = field(default_factory=dict)
    cells_cut: int = 0
    count: int = 0
    raw_values: bool = False
    _open: ExitStack = field(default_factory=ExitStack)
    _pairs_path: Path = field(init=False)
    _pairs: "_Rows" = field(init=False)

    def __post_init__(self) -> None:
        self._pairs_path = self._path("pairs")
        with naming_file(self._pairs_path):
            self._pairs = self._rows(self._open.enter_context(_begun(self._pairs_path)))
            self._pairs.writerows([self._blank(), self.texts["pairs_columns"].split(","), self._blank()])

    def add(self, entry: Entry) -> None:
        """Write one run's question and answer."""
        row = self._pair(entry)
        with naming_file(self._pairs_path):
            self._pairs.writerow([str(self.count + 1), *row])
        self.count += 1

    def finish(self, figures: Figures) -> Sequence[Path]:
        """Complete all files and return them."""
        with naming_file(self._pairs_path):
            note = [self.texts["pairs_note"], *self._blank()[1:]]
            self._pairs.writerows([self._blank(), note, self._blank()])
        self.close()
        self._write("overview", [self._overview(figures)])
        self._write("daily", ([day.isoformat(), str(count)] for day, count in figures.daily.items()))
        self._write("users", self._users(figures))
        return [self._path(name) for name in ("overview", "daily", "users", "pairs")]

    def close(self) -> None:
        """Close the file of pairs, which writes what is buffered and may fail as any write."""
        with naming_file(self._pairs_path):
            self._open.close()

    def _path(self, name: str) -> Path:
        return self.directory / self.texts[f"{name}_file"]

    def _blank(self) -> list[str]:
        return [""] * len(self.texts["pairs_columns"].split(","))

    def _write(self, name: str, rows: Iterable[Sequence[str]]) -> None:
        path = self._path(name)
        with naming_file(path), _begun(path) as file:
            writer = self._rows(file)
            writer.writerow(self.texts[f"{name}_columns"].split(","))
            writer.writerows(rows)

    def _overview(self, figures: Figures) -> list[str]:
        satisfaction = ""  # Dify keeps ratings for chat messages only, and the log list has none.
        return [
            _day(figures.first_day),
            _day(figures.last_day),
            str(figures.runs),
            str(len(figures.users)),
            str(figures.conversations),
            f"{figures.runs_per_conversation:.2f}",
            self._speed(figures),
            satisfaction,
            self._cost(figures),
        ]

    def _speed(self, figures: Figures) -> str:
        whole = self.limits is WHOLE
        return speed_text(self.texts, figures) if whole else old_speed_text(self.texts, figures)

    def _cost(self, figures: Figures) -> str:
        return cost_text(self.texts, figures) if self.limits is WHOLE else old_cost_text(figures.cost)

    def _users(self, figures: Figures) -> Iterator[list[str]]:
        for user in figures.users:
            counts = (str(user.runs), str(user.days))
            yield [self._cell(user.user), *counts, _day(user.first_day), _day(user.last_day)]

    def _pair(self, entry: Entry) -> list[str]:
        pair = pair_of(entry, self.texts["score"], self.limits)
        conversation = conversation_of(entry)
        first, second, *further = [*pair.segments, "", ""]
        texts = (
            pair.question,
            "; ".join(pair.attachments),
            pair.answer,
            "; ".join(pair.datasets),
            "; ".join(pair.documents),
            first,
            second,
            "; ".join(segment for segment in further if segment),
        )
        before = [self._cell(user_of(entry) or ""), self._cell(conversation or _own_id(entry))]
        after = [*map(self._cell, texts), at(entry.run.listed_at, self.tz)]
        # Last, since a turn is counted by it.
        return [*before, self._turn(conversation), *after]

    def _turn(self, conversation: str | None) -> str:
        if conversation is None:
            return "1"
        left = self.turns.get(conversation, 0)
        self.turns[conversation] = left - 1
        return str(left) if left > 0 else ""

    def _rows(self, file: TextIO) -> "_Rows":
        return _Rows(file, parted=self.limits is WHOLE and not self.raw_values)

    def _cell(self, text: str) -> str:
        if self.raw_values:
            return mend(text)
        if self.limits is not WHOLE:
            return defuse_formula(text)
        if not text:
            return text
        cell, was_cut = cut_cell(defuse(text), self.texts["cell_cut"], len(text))
        self.cells_cut += was_cut
        return cell


class _Rows:
    """Writes rows, all cells of one in quotes where a sign in it would part them in some spreadsheet."""

    def __init__(self, file: TextIO, *, parted: bool) -> None:
        self._plain, self._quoting = csv.writer(file), csv.writer(file, quoting=csv.QUOTE_ALL)
        self._parted = parted

    def writerow(self, cells: Sequence[str]) -> None:
        """Write one row."""
        quoted = self._parted and any(map(needs_quotes, cells))
        (self._quoting if quoted else self._plain).writerow(cells)

    def writerows(self, rows: Iterable[Sequence[str]]) -> None:
        """Write several."""
        for row in rows:
            self.writerow(row)


@dataclass(frozen=True, slots=True)
class _Writer:
    heading: Heading
    directory: Path
    files: CsvSet

    def add(self, entry: Entry) -> None:
        self.files.add(entry)

    def finish(self, figures: Figures) -> Sequence[Path]:
        written = self.files.finish(figures)
        path = self.directory / self.files.texts["notes_file"]
        text = notes_text(self.files.texts, self.heading, figures, self.files.cells_cut)
        with naming_file(path), _begun(path) as file:
            file.write(text)
        return [*written, path]


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """Writes the four CSV files of the old script and a text with certificate, figures and notes.

    ``raw_values`` leaves texts as they are, for programs; else every spreadsheet takes them for texts.
    """

    raw_values: bool = False

    @property
    def name(self) -> str:
        """Its word in settings and on the command line."""
        return "csv"

    @contextmanager
    def begin(self, heading: Heading, directory: Path) -> Iterator[_Writer]:
        """Start writing into an empty directory.

        :raises StorageError: when a file cannot be written.
        """
        turns = dict(heading.conversation_turns or {})
        files = CsvSet(
            directory, texts_in(heading.language), heading.tz, turns=turns, raw_values=self.raw_values
        )
        try:
            yield _Writer(heading, directory, files)
        finally:
            files.close()


def _begun(path: Path) -> TextIO:
    # newline="": the csv module writes the line ends, CRLF.  The codec "utf-8-sig" would write the mark, too,
    # but it is written in Python and asked for every row.
    file = path.open("w", encoding="utf-8", newline="")
    file.write(BYTE_ORDER_MARK)
    return file


def _own_id(entry: Entry) -> str:
    run = entry.run
    return run.log_id or run.run_id if run.gone else run.run_id


def _day(day: date | None) -> str:
    return "" if day is None else day.isoformat()
