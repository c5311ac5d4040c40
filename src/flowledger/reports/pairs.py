"""Question and answer of a run, and what the answer cites."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowledger.domain.runs import Detailed, Entry, Missing
from flowledger.io.json_text import compact
from flowledger.reports.cells import ABSENT

RETRIEVAL = "knowledge-retrieval"

_QUESTION_KEYS = ("query", "sys.query", "question", "input", "prompt", "text", "message", "content")
_ANSWER_KEYS = ("text", "answer", "result", "output", "response", "content", "message")
_FILE_MARKS = frozenset(
    {"transfer_method", "related_id", "upload_file_id", "remote_url", "extension", "mime_type"}
)
_SYSTEM = "sys."


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a pair is shown: characters of answer and segment, documents, segments; None shows all."""

    answer: int | None = None
    segment: int | None = None
    documents: int | None = None
    segments: int | None = None


WHOLE = Limits()
OLD_SCRIPT = Limits(answer=5000, segment=200, documents=5, segments=10)


@dataclass(frozen=True, slots=True)
class Pair:
    """What a person asked and was told; names are distinct, in the order first met."""

    question: str
    answer: str
    attachments: Sequence[str]
    datasets: Sequence[str]
    documents: Sequence[str]
    segments: Sequence[str]


def pair_of(entry: Entry, score_word: str, limits: Limits = WHOLE) -> Pair:
    """Read a run's question, answer, attachments and citations; empty where its detail is missing."""
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
    """Pick the question: a well-known input, else the first text that is not the system's own."""
    own = {name: value for name, value in inputs.items() if not name.startswith(_SYSTEM)}
    return _first_known(inputs, _QUESTION_KEYS) or _first_text(own)


def answer_of(outputs: Mapping[str, Any]) -> str:
    """Pick the answer: a well-known output, else the only text, else all outputs as JSON."""
    if not any(_meaningful(value) for value in outputs.values()):
        return ""
    only = _first_text(outputs) if len(outputs) == 1 else ""
    return _first_known(outputs, _ANSWER_KEYS) or only or compact(dict(outputs))


def attachments_of(inputs: Mapping[str, Any]) -> Sequence[str]:
    """Name the files a person sent: ``sys.files`` first, then inputs that are files or lists of them."""
    sent = list(_files(inputs.get("sys.files"), any_object=True))
    for name, value in inputs.items():
        if name != "sys.files":
            sent += _files(value, any_object=False)
    return [name for file in sent if (name := str(file.get("name") or file.get("filename") or ""))]


def _first_known(values: Mapping[str, Any], keys: Iterable[str]) -> str:
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
            found = node.outputs.get("result")
            yield from (
                (hit for hit in found or () if isinstance(hit, dict)) if isinstance(found, list) else ()
            )


def _metadata(hit: Mapping[str, Any]) -> Mapping[str, Any]:
    found = hit.get("metadata")
    return found if isinstance(found, dict) else {}


def _segment(hit: Mapping[str, Any], score_word: str, length: int | None) -> str:
    score = _metadata(hit).get("score", 0)
    known = isinstance(score, int | float) and not isinstance(score, bool)
    return f"{score_word}:{f'{score:.4f}' if known else ABSENT} {_as_text(hit['content'])[:length]}"


def _distinct(names: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(str(name) for name in names if name))
