"""Every reason that a module gives, and every failure of a report, has a sentence in each language."""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

import pytest

import flowledger
from flowledger.dify.answers import MISTAKEN_SETTINGS, PASSING
from flowledger.domain.reasons import OTHER, reason_code, reason_of, reason_text
from flowledger.ledger import disk
from flowledger.ledger.sql import postgresql, sqlite
from flowledger.storage import buckets

SOURCES = Path(flowledger.__file__).parent
VALUE = "7"
"""Stands for each value that is known in a run only."""
REASON_CALLS = frozenset({"Missing", "Verdict", "_uncertified", "give_up", "_shut_out"})
REASON_NAMES = frozenset(
    {
        "reason",
        "doubt",
        "given_up",
        "problem",
        "problems",
        "proof",
        "moved",
        "notes",
        "remedy",
        "_console_failure",
    }
)
SAYING = re.compile(r"^_?why_|problem$|^difference$|^unreadable$|^error_in$|^app_elsewhere|^_counted")
"""Functions that return a reason."""
READING = ("domain", "dify", "services", "storage")
"""Rooms that collect and report: elsewhere a ``reason`` may be another thing."""
FAILURES = frozenset(
    {"RunUnavailableError", "AuthenticationError", "LoginLockedError", "UsageError"}
    | {f"Source{kind}Error" for kind in ("Refused", "Busy", "Garbled", "Unreachable")}
    | {"DeadlineExceededError", "LedgerError", "LedgerVersionError"}
    | {f"Storage{kind}Error" for kind in ("", "Unavailable", "Refused")}
)
FAILING = (
    *(
        "dify",
        "http/session.py",
        "io",
        "domain/windows.py",
        "services/report.py",
        "services/report_requests.py",
    ),
    *("storage/buckets.py", "storage/spool.py", "storage/workspace.py", "bootstrap/stores.py"),
    *(
        "services/console_logins.py",
        "ledger/bodies.py",
        "ledger/disk.py",
        "ledger/sql/migration.py",
        "ledger/sql/postgresql.py",
    ),
)
"""What a report calls at night; the errors of other commands are read where these were typed."""
PASSED_ON = frozenset(
    {
        f"{VALUE}: {VALUE}",  # of PASSING, which has a test below
        # More, or none.
        f"counted {VALUE} rows and said that {VALUE} follow page {VALUE} of {VALUE} rows each",
        f"{VALUE} at {VALUE}: no process tries the password again until the setting changes",
        f"the source {VALUE}",  # of the reader of a list, whose problems are found where they are made
        # Of the acts of a bucket, which have a test below.
        f"cannot {VALUE} {VALUE}: {VALUE}",
        f"cannot {VALUE} {VALUE}: its certificate is not trusted ({VALUE})",
        f"the ledger's URL names no database: write {postgresql.EXAMPLE}",  # settings refuse it before
    }
)

Scope = Mapping[str, Sequence[ast.expr]]
"""What the names of a function, and of its module, were assigned."""


def _texts(node: ast.expr, scope: Scope, depth: int = 0) -> Sequence[str]:
    """Return what an expression may be, with ``VALUE`` in each place that only a run fills."""
    match node:
        case _ if depth > 5:
            return []
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=values):
            parts = (_texts(part, scope, depth + 1) or [VALUE] for part in values)
            return ["".join(chosen) for chosen in product(*parts)]
        case ast.FormattedValue(value=(ast.IfExp() | ast.Name()) as value):
            return _texts(value, scope, depth + 1)
        case ast.IfExp(body=one, orelse=other):
            nodes = [one, other]
        case ast.BoolOp(values=nodes) | ast.Tuple(elts=nodes) | ast.List(elts=nodes):
            pass
        case ast.Dict(keys=keys):
            nodes = [key for key in keys if key]  # a table of problems: the first that holds is the reason
        case ast.Starred(value=value):
            nodes = [value]
        case ast.Call(func=ast.Attribute(attr="join"), args=[ast.Call(args=[_, value])]):
            nodes = [value]
        case ast.Name(id=name):
            nodes = list(scope.get(name, ()))
        case _:
            return []
    return [text for each in nodes for text in _texts(each, scope, depth + 1)]


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _assigned(nodes: Iterator[ast.AST]) -> dict[str, list[ast.expr]]:
    found: dict[str, list[ast.expr]] = {}
    for node in nodes:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                found.setdefault(_name(target), []).append(node.value)
    return found


def _said(node: ast.AST, calls: frozenset[str], names: frozenset[str]) -> Iterator[ast.expr]:
    """Yield the expressions of a node that become reasons: by the call, or by the name they are given."""
    if isinstance(node, ast.Call):
        if _name(node.func) in calls:
            yield from node.args
        yield from (each.value for each in node.keywords if each.arg in names)
        is_list = isinstance(node.func, ast.Attribute) and _name(node.func.value) in names
        if is_list and _name(node.func) == "append":
            yield from node.args
    elif isinstance(node, ast.Assign) and any(_name(target) in names for target in node.targets):
        yield node.value
    elif isinstance(node, ast.FunctionDef) and names and SAYING.search(node.name):
        yield from (each.value for each in ast.walk(node) if isinstance(each, ast.Return) and each.value)


def _found(path: Path, calls: frozenset[str], names: frozenset[str]) -> Iterator[tuple[str, str]]:
    tree = ast.parse(path.read_text())
    of_module = _assigned(iter(tree.body))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for function in functions:
        scope = {**of_module, **_assigned(ast.walk(function))}
        for node in ast.walk(function):
            for expression in _said(node, calls, names):
                for text in _texts(expression, scope):
                    yield f"{path.relative_to(SOURCES)}:{expression.lineno}", text
    for node in tree.body:
        for inside in ast.walk(node) if not isinstance(node, ast.FunctionDef | ast.ClassDef) else ():
            for expression in _said(inside, calls, names):
                for text in _texts(expression, of_module):
                    yield f"{path.relative_to(SOURCES)}:{expression.lineno}", text


def _without_sentence(text: str) -> Sequence[str]:
    """Return the parts of a text that have no sentence."""
    if reason_of(text).code != OTHER or not text.strip():
        return []
    parts = (part for part in text.split("; ") if part.strip(VALUE) and part not in PASSED_ON)
    return [part for part in parts if reason_of(part).code == OTHER]


def _files(*rooms: str) -> Iterator[Path]:
    for room in rooms:
        yield from (SOURCES / room).rglob("*.py") if (SOURCES / room).is_dir() else (SOURCES / room,)


def test_every_reason_has_a_sentence() -> None:
    """Of what is missing, not proved or worth a note, wherever a module says so."""
    found = [
        place
        for path in _files("domain", "dify", "ledger/rules.py", "storage", "services")
        for place in _found(path, REASON_CALLS, REASON_NAMES if path.parent.name in READING else frozenset())
    ]
    assert len(found) > 40, "the reasons are not found any more"
    assert {where: parts for where, text in found if (parts := _without_sentence(text))} == {}


def test_every_failure_of_a_report_has_a_sentence() -> None:
    """As messages tell it."""
    found = [place for path in _files(*FAILING) for place in _found(path, FAILURES, frozenset())]
    assert len(found) > 40, "the failures are not found any more"
    assert {where: parts for where, text in found if (parts := _without_sentence(text))} == {}


FACTS = {
    **dict.fromkeys(("error", "reason", "host", "proxy", "proxy_variable", "verdict"), VALUE),
    "connect_s": 7.0,
}


def test_every_failure_of_a_connection_has_a_sentence() -> None:
    """Those that pass begin with the host."""
    texts = [f"dify.example.com: {template}" for template in PASSING.values()]
    for text in (*texts, *MISTAKEN_SETTINGS.values()):
        for password in ("", " and requires a password"):
            assert _without_sentence(text.format(**FACTS, password=password)) == []


@pytest.mark.parametrize("act", ["store", "read", "list", "remove", "sign a link to"])
def test_every_refusal_of_a_bucket_has_a_sentence(act: str) -> None:
    """What it is, what was attempted, and what to do."""
    for code in (*buckets._ADVICE, *buckets._UNAVAILABLE, "NoSuchKey", "Odd"):
        text = str(buckets.refusal("S3", act, "s3://bucket/name", code=code, message="a message of its own"))
        assert _without_sentence(text) == []
        told = f"s3://bucket/name：{code} a message of its own；"
        first, _, advice = reason_text(text, "zh").partition(told)
        assert first.startswith("无法")
        assert advice
    text = str(buckets.untrusted(act, "s3://bucket/name", "certificate verify failed: self-signed"))
    assert _without_sentence(text) == []


@pytest.mark.parametrize(
    "advice",
    [
        *(*disk.WAYS_OUT.values(), disk.OTHERWISE),
        *(*sqlite.WAYS_OUT.values(), sqlite.OTHERWISE),
        *(*postgresql.WAYS_OUT.values(), postgresql.OTHERWISE),
        *(way for _, way in postgresql._SAID),
        postgresql.way_out(None, "odd"),
    ],
)
def test_every_way_out_of_a_ledger_has_a_sentence(advice: str) -> None:
    """After the database's own words."""
    text = f"the ledger postgresql://db:5432/flowledger: FATAL: odd; {advice}"
    assert _without_sentence(text) == []
    assert reason_text(text, "zh").startswith("台账 postgresql://db:5432/flowledger：FATAL: odd；")
    assert reason_code(text) == "ledger"
