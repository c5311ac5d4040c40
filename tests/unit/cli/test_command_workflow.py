"""``flowledger workflow`` and ``flowledger execution``: files, executions in the command, exit statuses."""

import io
import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flowledger import bootstrap
from flowledger.cli.main import main
from flowledger.ledger import open_ledger, workflow_store

End = Callable[..., int]
GREET = """
format: workflow/1
name: greet
nodes:
  - {alias: start, name: Start, node_type: START, config: {input_schema: {required: [who]}}}
  - alias: text
    name: Text
    node_type: TRANSFORM
    config: {template: "hello {{input.who}}"}
  - {alias: end, name: End, node_type: END, config: {output: "{{text}}"}}
connections:
  - {from: start, to: text}
  - {from: text, to: end, config: {on: always}}
"""
FAILING = GREET.replace("name: greet", "name: failing").replace(
    'config: {output: "{{text}}"}', 'config: {error_message: "no {{input.who}}"}'
)


@pytest.fixture(scope="session")
def blank_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty ledger's file: copying it is quicker than migrating for each test."""
    path = tmp_path_factory.mktemp("blank") / "ledger.db"
    open_ledger(f"sqlite:///{path}", {}).close()
    return path


@pytest.fixture
def end_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blank_ledger: Path) -> End:
    """Run a command over a ledger of its own, and give its exit status; greet.yaml is there."""
    shutil.copy(blank_ledger, tmp_path / "ledger.db")
    (tmp_path / ".env").write_text(f"LEDGER_URL=sqlite:///{tmp_path}/ledger.db\n")
    (tmp_path / "greet.yaml").write_text(GREET)
    (tmp_path / "failing.yaml").write_text(FAILING)
    monkeypatch.chdir(tmp_path)

    def run(*words: str, input: str = "") -> int:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(input.encode())))
        with pytest.raises(SystemExit) as end:
            main([*words])
        return int(end.value.code or 0)

    return run


def test_files_are_applied_by_name(end_of: End, capsys: pytest.CaptureFixture[str]) -> None:
    """Created, unchanged, then changed: a version each time something is new."""
    results = []
    for text in (GREET, GREET, GREET.replace("hello", "good day")):
        Path("greet.yaml").write_text(text)
        assert end_of("workflow", "apply", "greet.yaml", "--json") == 0
        (row,) = json.loads(capsys.readouterr().out)
        results.append((row["result"], row["id"], row["status"], row["published_version"]))
    assert results == [
        *(("created", 1, "active", 1), ("unchanged", 1, "active", 1), ("changed", 1, "active", 2)),
    ]
    assert end_of("workflow", "apply", "-", "--draft", input=FAILING) == 0
    assert capsys.readouterr().out.split() == ["created", "2", "failing", "draft"]
    assert end_of("workflow", "publish", "failing") == 0
    assert end_of("workflow", "list", "--status", "active", "--json") == 0
    out = capsys.readouterr().out
    assert [each["name"] for each in json.loads(out[out.index("[") :])] == ["failing", "greet"]
    with bootstrap.opened_ledger(bootstrap.load_settings(need_app=False)) as ledger:
        acts = [(each.operation_type, str(each.app)) for each in ledger.operations()]
    assert sorted(acts) == [
        *[("APPLY_WORKFLOW", "local:1")] * 2,
        *(("APPLY_WORKFLOW", "local:2"), ("PUBLISH_WORKFLOW", "local:2")),
    ]


def test_one_broken_file_keeps_all_from_being_applied(
    end_of: End, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every fault is named with file and line, and nothing is stored."""
    broken = GREET.replace("{{input.who}}", "{{inptu.who}}").replace("connections:", "connections:\n  #")
    Path("broken.yaml").write_text(broken)
    assert end_of("workflow", "apply", "greet.yaml", "broken.yaml") == 2
    error = capsys.readouterr().err
    assert "broken.yaml, line 9: text: config.template: " in error
    assert "inptu" in error
    assert end_of("workflow", "list") == 0
    assert "no workflows match" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: x\nname: y", "bad.yaml, line 2: the name 'name' is there twice: on line 1 too"),
        ("nodes: [", "bad.yaml, line 1: is not valid YAML"),
        ("", "bad.yaml: holds nothing"),
        ("[]", "bad.yaml: holds nothing"),
        ("just text", "bad.yaml: an exported workflow is an object"),
        (GREET.replace("to: end", "to: nowhere"), "bad.yaml, line 13: connection 2: to: there is no node"),
        (GREET.replace("name: Text", "nmae: Text"), "bad.yaml, line 6: node text: unknown field 'nmae'"),
        (GREET.replace("name: greet", "name:"), "bad.yaml: the workflow: name must be a text"),
    ],
)
@pytest.mark.parametrize("command", ["apply", "validate", "import"])
def test_a_file_that_is_none(
    end_of: End, capsys: pytest.CaptureFixture[str], command: str, text: str, said: str
) -> None:
    """The sentence says where, and there is no traceback."""
    Path("bad.yaml").write_text(text)
    assert end_of("workflow", command, "bad.yaml") == 2
    error = capsys.readouterr().err
    assert said.removeprefix("bad.yaml") in error.removeprefix("error: bad.yaml"), error
    assert "Traceback" not in error


def test_bytes_and_places_that_cannot_be_read(end_of: End, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there, and one of another encoding."""
    Path("latin.yaml").write_bytes(b"name: \xe9")
    assert end_of("workflow", "apply", "/dev/zero") == 2
    assert "/dev/zero: has more than 16,777,216 bytes" in capsys.readouterr().err
    assert end_of("workflow", "apply", "nowhere.yaml") == 2
    assert end_of("workflow", "validate", "latin.yaml") == 2
    error = capsys.readouterr().err
    assert "nowhere.yaml: cannot be read" in error
    assert "latin.yaml: is not UTF-8" in error


def test_validation_says_all_at_once(end_of: End, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a file with lines, of a stored one by node and field; status 1 where something is wrong."""
    assert end_of("workflow", "validate", "greet.yaml") == 0
    broken = GREET.replace("{alias: end", "{alias: fin").replace("to: end", "to: fin")
    Path("broken.yaml").write_text(
        broken.replace("node_type: END", "node_type: NONE").replace("{{text", "{{x")
    )
    capsys.readouterr()
    assert end_of("workflow", "validate", "broken.yaml") == 1
    out = capsys.readouterr().out
    assert "broken.yaml, line 4: workflow: nodes: there is no END" in out
    assert "line 10: fin: node_type: " in out
    assert end_of("workflow", "apply", "--draft", "broken.yaml") == 0
    capsys.readouterr()
    assert end_of("workflow", "validate", "greet", "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert not report["valid"]
    assert {"node": None, "field": "nodes", "message": "there is no END"} in report["errors"]
    assert end_of("workflow", "publish", "greet") == 2
    assert "there is no END" in capsys.readouterr().err


def test_what_is_exported_is_applied_unchanged(end_of: End, capsys: pytest.CaptureFixture[str]) -> None:
    """As YAML and as JSON, to a file and to standard output."""
    assert end_of("workflow", "apply", "greet.yaml") == 0
    for name in ("out.yaml", "out.json"):
        assert end_of("workflow", "export", "greet", "--out", name) == 0
        capsys.readouterr()
        assert end_of("workflow", "apply", name, "--json") == 0
        assert json.loads(capsys.readouterr().out)[0]["result"] == "unchanged"
    assert end_of("workflow", "export", "1", "--format", "json", "--version", "1") == 0
    assert json.loads(capsys.readouterr().out)["name"] == "greet"
    assert end_of("workflow", "export", "1", "--version", "7") == 1
    assert end_of("workflow", "export", "1", "--out", "nowhere/x.yaml") == 1
    assert end_of("workflow", "graph", "greet") == 0
    assert "n1 --> n2" in capsys.readouterr().out
    assert end_of("workflow", "show", "greet", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert [node["alias"] for node in shown["nodes"]] == ["start", "text", "end"]
    assert [each["number"] for each in shown["versions"]] == [1]
    assert end_of("workflow", "show", "greet") == 0
    assert "text -> end  SEQUENCE" in capsys.readouterr().out


def test_old_exports_are_imported(end_of: End, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows of tables, several in one file; a taken name is marked."""
    rows: dict[str, Any] = {
        "workflow": {"id": 3, "name": "old", "is_active": True},
        "nodes": [
            {"id": 7, "name": "in", "node_type": "START"},
            {"id": 9, "name": "out", "node_type": "END"},
        ],
        "connections": [{"from_node_id": 7, "to_node_id": 9, "connection_type": "SEQUENCE"}],
    }
    Path("old.json").write_text(json.dumps({"workflows": [rows, rows]}))
    assert end_of("workflow", "import", "old.json", "--dry-run") == 0
    assert end_of("workflow", "list", "--json") == 0
    assert capsys.readouterr().out.endswith("[]\n")
    assert end_of("workflow", "import", "old.json", "--json") == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == ["old", "old(副本)"]
    assert end_of("workflow", "import", "old.json", "--name", "x") == 2
    assert end_of("workflow", "import", "greet.yaml", "--name", "hello") == 0
    assert end_of("workflow", "run", "--direct", "old(副本)") == 0


def test_direct_runs_need_neither_server_nor_worker(end_of: End, capsys: pytest.CaptureFixture[str]) -> None:
    """Steps are shown as they end; the status says how it ended."""
    assert end_of("workflow", "run", "--direct", "greet.yaml", "--input", '{"who": "张三"}') == 0
    out = capsys.readouterr().out
    assert [line.split()[1:3] for line in out.splitlines()[1:4]] == [
        *(["start", "succeeded"], ["text", "succeeded"], ["end", "succeeded"]),
    ]
    assert 'output: "hello 张三"' in out
    Path("input.yaml").write_text("who: ann\n")
    assert end_of("workflow", "run", "--direct", "greet", "--input", "@input.yaml", "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["status"], row["output_data"], row["trigger"]) == ("success", "hello ann", "cli")
    assert end_of("workflow", "run", "--direct", "failing.yaml", "--input", "@-", input="who: stock") == 1
    assert "error: WorkflowFailed: no stock" in capsys.readouterr().out
    assert end_of("workflow", "run", "--direct", "failing", "--input", '{"who": "\\u001b[2J\\n"}') == 1
    assert "\x1b" not in capsys.readouterr().out
    assert end_of("execution", "list", "--status", "failed", "--json") == 0
    _, row = json.loads(capsys.readouterr().out)
    assert row["error_message"] == "no stock"
    assert end_of("execution", "list", "--workflow", "greet") == 0
    assert capsys.readouterr().out.count("success") == 2
    assert end_of("execution", "show", str(row["id"])) == 0
    assert "no stock" in capsys.readouterr().out
    assert end_of("execution", "tail", row["execution_id"], "--json") == 1
    events = [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()]
    assert (events[0], events[-1]) == ("EXECUTION_CREATED", "EXECUTION_FAILED")


@pytest.mark.parametrize(
    ("answers", "status", "settled"),
    [("\n\n\n", 0, 3), ("\nq\n", 3, 2), ("c\n", 0, 3), ("", 3, 1)],
    ids=["each", "stopped", "all", "nobody"],
)
def test_step_by_step(
    end_of: End, capsys: pytest.CaptureFixture[str], answers: str, status: int, settled: int
) -> None:
    """A node at a time, until all are done or somebody stops; what is left can be done later."""
    words = ("workflow", "run", "--direct", "--step", "greet.yaml", "--input", "who: ann")
    assert end_of(*words, input=answers) == status
    assert capsys.readouterr().out.count("succeeded") == settled
    if status == 3:
        assert end_of("execution", "step", "1") == 0
        assert "pending" in capsys.readouterr().out


def test_what_is_ordered_waits_for_a_worker(end_of: End, capsys: pytest.CaptureFixture[str]) -> None:
    """It can be cancelled, paused and resumed; what has ended cannot."""
    assert end_of("workflow", "run", "greet.yaml", "--no-wait", "--input", "who: ann", "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert row["status"] == "pending"
    for command, status in (("pause", "paused"), ("resume", "pending"), ("cancel", "cancelled")):
        assert end_of("execution", command, row["execution_id"]) == 0
        assert status in capsys.readouterr().out
    assert end_of("execution", "cancel", "1") == 2
    assert "has ended as cancelled: nothing to cancel" in capsys.readouterr().err
    assert end_of("execution", "step", "1") == 2
    assert end_of("execution", "resume", "1", "--from", "nowhere") == 2
    assert end_of("execution", "resume", "1", "--from", "text", "--skip-failed") == 2
    assert end_of("execution", "resume", "1", "--output", "1") == 2
    assert end_of("execution", "resume", "1", "--skip-failed", "--output", "1") == 0


def test_what_a_dead_process_left_is_resumed_without_a_worker(
    end_of: End, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once its lease has run out it is interrupted, and goes on in the command."""
    assert end_of("workflow", "run", "greet.yaml", "--no-wait", "--input", "who: ann") == 0
    now = bootstrap.clock.utc_now()
    with bootstrap.opened_ledger(bootstrap.load_settings(need_app=False)) as ledger:
        assert workflow_store(ledger).take_one(1, "dead", now, timedelta(seconds=30))
    assert end_of("execution", "resume", "1", "--direct") == 2
    monkeypatch.setattr(bootstrap.clock, "utc_now", lambda: now + timedelta(minutes=1))
    capsys.readouterr()
    assert end_of("execution", "resume", "1", "--direct") == 0
    out = capsys.readouterr().out
    assert "interrupted" not in out
    assert out.count("succeeded") == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("workflow", "run", "nope"), "there is no workflow 'nope': flowledger workflow list shows all"),
        (("workflow", "run", "99"), "there is no workflow '99'"),
        (("workflow", "run", "nope.yaml"), "nope.yaml: cannot be read"),
        (("workflow", "run", "x", "--direct", "--no-wait"), "--no-wait is for executions by a worker"),
        (("workflow", "run", "greet.yaml", "--direct"), "input_data: 'who' is a required property"),
        (("workflow", "run", "greet.yaml", "--input", "{"), "--input: line 1: is not valid JSON"),
        (("workflow", "run", "greet.yaml", "--input", "@no"), "--input: no cannot be read"),
        (("execution", "show", "nope"), "there is no execution nope: flowledger execution list shows"),
        (("execution", "tail", "9" * 30), "there is no execution 9999"),
    ],
)
def test_wrong_words(
    end_of: End, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    """A sentence, and status 2."""
    assert end_of(*words) == 2
    assert said in capsys.readouterr().err


def test_two_of_one_name_are_told_apart_by_number(end_of: End, capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the numbers."""
    assert end_of("workflow", "import", "greet.yaml") == 0
    assert end_of("workflow", "import", "greet.yaml", "--name", "other") == 0
    assert end_of("workflow", "apply", "--draft", "-", input=GREET.replace("name: greet", "name: third")) == 0
    capsys.readouterr()
    assert end_of("workflow", "show", "2") == 0
    assert "other" in capsys.readouterr().out


SIGNED = """
format: workflow/1
name: signed
nodes:
  - {alias: start, name: Start, node_type: START}
  - {alias: sign, name: Sign, node_type: APPROVAL, config: {approvers: [USER], message: "Ship [bold]it[/]?"}}
  - {alias: divide, name: Divide, node_type: TRANSFORM, config: {template: "{{1 / input.by}}"}}
  - {alias: end, name: End, node_type: END, config: {output: "{{divide}}"}}
connections:
  - {from: start, to: sign}
  - {from: sign, to: divide}
  - {from: divide, to: end}
"""


@pytest.fixture
def parked(end_of: End) -> End:
    """An execution waits for the user of this machine; then it will fail at divide."""
    made = SIGNED.replace("USER", bootstrap.user_name())
    assert end_of("workflow", "apply", "-", input=made) == 0
    end_of("workflow", "run", "signed", "--direct", "--input", '{"by": "x"}')
    return end_of


def test_people_approve_and_recover(parked: End, capsys: pytest.CaptureFixture[str]) -> None:
    """List, approve, see what failed, try it again, skip it."""
    capsys.readouterr()
    assert parked("approvals", "list", "--mine", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["step"], row["required_approvals"], row["approved_by"]) == ("sign", 1, [])
    assert parked("approvals", "list") == 0
    assert "Ship [bold]it[/]?" in capsys.readouterr().out
    assert parked("execution", "approve", "1", "Sign", "--comment", "fine") == 0
    assert "approved by" in capsys.readouterr().out
    assert parked("execution", "reject", "1", "sign") == 2
    assert "is resolved" in capsys.readouterr().err
    assert parked("approvals", "list") == 0
    assert "nothing waits" in capsys.readouterr().err
    assert parked("execution", "resume", "1", "--direct") == 1
    capsys.readouterr()
    assert parked("execution", "recovery", "1") == 0
    said = capsys.readouterr().out
    assert "failed, can be resumed" in said
    assert "failed: 3 Divide" in said
    assert parked("execution", "retry", "1", "divide", "--max-retries", "1", "--delay", "0") == 0
    assert parked("execution", "resume", "1", "--direct") == 2
    assert parked("execution", "skip", "1", "divide") == 2
    capsys.readouterr()
    assert parked("execution", "recovery", "1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["last_successful_step"] == "Sign"


def test_only_approvers_decide(parked: End, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody else, and no step that asks for nothing."""
    assert parked("execution", "approve", "1", "divide") == 1
    assert "no approval of step divide" in capsys.readouterr().err
