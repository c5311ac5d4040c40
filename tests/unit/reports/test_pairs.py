"""Which values of a run are its question, its answer, its files and its citations."""

from typing import Any

import pytest

from flowledger.domain.runs import Detailed, Entry, Missing, NodeExecution, Run
from flowledger.reports.csv_files import OLD_SCRIPT, Pair, answer_of, attachments_of, pair_of, question_of


@pytest.mark.parametrize(
    ("inputs", "question"),
    [
        ({"sys.query": "s", "query": "q"}, "q"),
        ({"sys.query": "s", "topic": "t"}, "s"),
        ({"sys.user_id": "u", "n": 1, "topic": "t"}, "t"),
        ({"query": {"a": 1}}, '{"a": 1}'),
        ({"sys.user_id": "u"}, ""),
        ({}, ""),
    ],
)
def test_questions(inputs: dict[str, Any], question: str) -> None:
    """A well-known input is the question, else the first text that is not the system's."""
    assert question_of(inputs) == question


@pytest.mark.parametrize(
    ("outputs", "answer"),
    [
        ({"text": "a", "answer": "b"}, "a"),
        ({"answer": "b", "n": 1}, "b"),
        ({"story": "s"}, "s"),
        ({"a": 1, "b": "钱"}, '{"a": 1, "b": "钱"}'),
        ({"text": None, "n": 0}, '{"text": null, "n": 0}'),
        ({"text": ""}, ""),
        ({}, ""),
    ],
)
def test_answers(outputs: dict[str, Any], answer: str) -> None:
    """A well-known output is the answer, else the only text, else everything as JSON."""
    assert answer_of(outputs) == answer


def test_attachments() -> None:
    """Files of the system come first, then inputs that are files; other objects are not files."""
    upload = {"transfer_method": "local_file", "filename": "b.pdf"}
    inputs = {
        "doc": upload,
        "docs": [upload, {"extension": ".png", "name": "c.png"}, "text"],
        "person": {"name": "Ann"},
        "sys.files": [{"name": "a.txt"}, {}, None],
    }
    assert attachments_of(inputs) == ["a.txt", "b.pdf", "b.pdf", "c.png"]
    assert attachments_of({"sys.files": None}) == []


def retrieval(result: Any) -> NodeExecution:
    """A knowledge retrieval with this result."""
    return NodeExecution(0, "e", "n", "knowledge-retrieval", "t", "succeeded", outputs={"result": result})


def hit(dataset: str, document: str, content: str, score: Any = 0.5) -> dict[str, Any]:
    """One segment found."""
    return {
        "metadata": {"dataset_name": dataset, "document_name": document, "score": score},
        "content": content,
    }


def pair(run: Run, *nodes: NodeExecution, **options: Any) -> Pair:
    """Read the pair of a run with these nodes."""
    return pair_of(Entry(run, Detailed({}, {}, nodes, {})), "score", **options)


def test_citations(make_entry: Any) -> None:
    """Names are complete and distinct, in the order first met; one within another is not dropped."""
    run = make_entry().run
    first = retrieval([hit("知识库10", "a.md", "x"), hit("知识库1", "a.md", "y", score=None)])
    found = pair(run, first, retrieval(None), retrieval(["odd", {"content": "z"}]))
    assert found.datasets == ["知识库10", "知识库1"]
    assert found.documents == ["a.md"]
    assert found.segments == ["score:0.5000 x", "score:N/A y", "score:0.0000 z"]


def test_the_old_limits(make_entry: Any) -> None:
    """The old script's files show 5 documents, 10 segments of 200 characters."""
    hits = retrieval([hit("k", f"{n}.md", "c" * 300) for n in range(20)])
    found = pair(make_entry().run, hits, limits=OLD_SCRIPT)
    assert (len(found.documents), len(found.segments), len(found.segments[0])) == (
        5,
        10,
        len("score:0.5000 ") + 200,
    )
    assert len(pair(make_entry().run, hits).segments) == 20


def test_missing_details_have_no_pair(make_entry: Any) -> None:
    """A run without detail has empty cells."""
    assert pair_of(Entry(make_entry().run, Missing("x")), "score") == Pair("", "", (), (), (), ())
    half = Detailed({"query": "q"}, None, Missing("no console"), {})
    assert pair_of(Entry(make_entry().run, half), "score").question == "q"
