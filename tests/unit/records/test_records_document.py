"""The examples of docs/records.md run, and its names are those of the program."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowledger import records
from flowledger.bootstrap import clock, configured
from flowledger.domain.coze_runs import created
from flowledger.domain.record_checks import RecordLimits
from flowledger.records import OPERATION_TYPES, load_default_config, log_service
from flowledger.settings import ConfigManager
from flowledger.settings.model import VARIABLES

DOCUMENT = (Path(__file__).parents[3] / "docs/records.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)


@pytest.fixture
def _sqlite(tmp_path: Path) -> Iterator[None]:
    with configured(ConfigManager(tmp_path, {"LEDGER_URL": f"sqlite:///{tmp_path}/ledger.db"})):
        yield
        log_service.close()


def run(example: str) -> dict[str, Any]:
    """Carry out an example and give its names."""
    names: dict[str, Any] = {}
    exec(compile(example, "docs/records.md", "exec"), names)
    return names


@pytest.mark.usefixtures("_sqlite")
def test_the_examples_run() -> None:
    """And give what their text says."""
    logged, coze = map(run, EXAMPLES)
    (execution,) = logged["executions"]
    assert (execution["messages"], execution["task_results"]) == (["paid", "shipped"], {"pay": "ok"})
    assert [(each["operation_type"], each["user"]) for each in logged["operations"]] == [("PUBLISH", "ann")]
    assert (coze["page"]["total"], coze["page"]["has_more"]) == (1, False)
    assert coze["page"]["histories"][0]["output"] == {"result": "fine"}


def test_the_names_in_the_document_exist() -> None:
    """Services, options, variables, fields and types of operations."""
    words = set(re.findall(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)`", DOCUMENT))
    assert words <= VARIABLES
    for option in load_default_config():
        assert f"`{option}`" in DOCUMENT
    for field in created({"execute_id": "e", "workflow_id": "w"}, clock.utc_now(), RecordLimits()):
        assert field in DOCUMENT
    assert all(word in DOCUMENT for word in OPERATION_TYPES)
    services = (records.LogService, records.ExecutionHistoryService)
    methods = {name for service in (*services, records.BaseLogStorage) for name in vars(service)}
    called = re.findall(
        r"`((?:log|get|update|start_workflow|complete|create|delete|clear)_\w+)(?:\(.*?\))?`", DOCUMENT
    )
    assert {name for name in called if name != "log_service"} <= methods | set(load_default_config())
