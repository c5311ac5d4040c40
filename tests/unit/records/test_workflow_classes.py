"""The Python classes of workflows, and the old guide's examples of them, verbatim."""

import ast
import asyncio
import inspect
import re
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from flowledger import records
from flowledger.bootstrap import configured
from flowledger.domain.workflows.expressions import parse
from flowledger.errors import InvalidWorkflowError, RecordNotFoundError, UsageError
from flowledger.records import (
    ConnectionType,
    NodeType,
    WorkflowExecutor,
    WorkflowMonitor,
    WorkflowOrchestrator,
    WorkflowPlugin,
)
from flowledger.records.workflow_access import Row, close_shared_ledgers
from flowledger.settings import ConfigManager

GUIDE = Path(__file__).parents[2] / "data" / "workflows" / "old_guide_examples.md"
DOCUMENT = Path(__file__).parents[3] / "docs" / "orchestration.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
NAMES = {
    name: getattr(records, name) for name in records.__all__ if name.startswith(("Work", "Node", "Conn"))
}
Main = Callable[[], Coroutine[Any, Any, Any]]


@pytest.fixture(autouse=True)
def _memory(tmp_path: Path) -> Iterator[None]:
    with configured(ConfigManager(tmp_path, {"LEDGER_URL": "memory://", "OUTPUT_BASE_DIR": str(tmp_path)})):
        yield
        close_shared_ledgers()


async def greeting(**options: Any) -> Row:
    """Define a workflow that greets; the node between START and END has these options."""
    orchestrator = WorkflowOrchestrator()
    workflow = await orchestrator.create_workflow("greet", config={"timeout": 60}, tags=["demo"])
    text = options.pop("template", "hello {{input.who}}")
    start = await orchestrator.add_node(workflow.id, "Start", NodeType.START)
    middle = await orchestrator.add_node(
        workflow.id, "Text", NodeType.TRANSFORM, {"template": text}, 1, 2, "greets", **options
    )
    end = await orchestrator.add_node(workflow.id, "End", "END", {"output": "{{Text}}"})
    await orchestrator.add_connection(workflow.id, start.id, middle.id)
    await orchestrator.add_connection(workflow.id, middle.id, end.id, ConnectionType.SEQUENCE)
    return workflow


def example(number: int, **names: Any) -> dict[str, Any]:
    """Carry out an example of the guide, which may await outside of functions; give its names."""
    space = {**NAMES, **names}
    code = compile(EXAMPLES[number], GUIDE.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(eval(code, space))
    else:
        exec(code, space)
    return space


@contextmanager
def logged() -> Iterator[list[str]]:
    """Collect what is logged."""
    lines: list[str] = []
    sink = logger.add(lines.append, format="{level}: {message}", level="INFO")
    try:
        yield lines
    finally:
        logger.remove(sink)


def test_workflows_are_defined_published_and_executed() -> None:
    """Fields are attributes and items alike."""

    async def whole() -> None:
        orchestrator, executor, monitor = WorkflowOrchestrator(), WorkflowExecutor(), WorkflowMonitor()
        workflow = await greeting()
        assert (workflow.status, workflow["name"]) == ("draft", "greet")
        nodes = await orchestrator.get_workflow_nodes(workflow.id)
        assert [(node.alias, node.node_type) for node in nodes][1] == ("Text", "TRANSFORM")
        assert (nodes[1].position_x, nodes[1].description) == (1, "greets")
        version = await orchestrator.publish(workflow.id)
        assert (version.number, version.workflow_id) == (1, workflow.id)
        execution = await executor.execute_workflow(workflow.id, {"who": "张三"}, execution_name="first")
        assert (execution.status, execution.output_data) == ("success", "hello 张三")
        assert execution.execution_name == "first"
        logs = await monitor.get_execution_logs(execution.id)
        assert [(log.step_name, log.status) for log in logs] == [
            *(("Start", "success"), ("Text", "success"), ("End", "success")),
        ]
        details = await monitor.get_execution_details(execution.execution_id)
        assert (details.logs, details.events[-1].event) == (logs, "EXECUTION_COMPLETED")
        exported = await orchestrator.export_workflow(workflow.id)
        copied = await orchestrator.import_workflow(exported)
        assert copied.name == "greet(副本)"
        named = await orchestrator.import_workflow(
            '{"format": "workflow/1", "name": "x", "nodes": []}', "new"
        )
        assert [each.name for each in await orchestrator.get_workflows()] == ["new", "greet(副本)", "greet"]
        assert [each.id for each in await orchestrator.get_workflows(status="active")] == [workflow.id]
        with pytest.raises(InvalidWorkflowError, match="there is no START"):
            await orchestrator.publish(named.id)

    asyncio.run(whole())


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: WorkflowOrchestrator().create_workflow(""), UsageError, "name must be a text"),
        (lambda: WorkflowOrchestrator().add_node(7, "x", "END"), RecordNotFoundError, "no workflow 7"),
        (lambda: WorkflowOrchestrator().add_node(1, "x", "END", colour=1), UsageError, "colour"),
        (lambda: WorkflowOrchestrator().get_workflows(status="x"), UsageError, "draft, active"),
        (lambda: WorkflowOrchestrator().get_workflows(limit=0), UsageError, "1 to 1,000"),
        (lambda: WorkflowOrchestrator().import_workflow("- 1\n- 2"), UsageError, "holds 2 workflows"),
        (lambda: WorkflowExecutor().execute_workflow(7), RecordNotFoundError, "no workflow 7"),
        (lambda: WorkflowExecutor().step(7), RecordNotFoundError, "no execution 7"),
        (lambda: WorkflowMonitor().get_execution_logs(7), RecordNotFoundError, "no execution 7"),
        (lambda: WorkflowMonitor().get_execution_details("x"), RecordNotFoundError, "no execution x"),
    ],
)
def test_errors_are_the_houses_own(call: Main, error: type[Exception], said: str) -> None:
    """With the sentence that everybody else reads."""

    async def attempt() -> None:
        await greeting()
        await call()

    with pytest.raises(error, match=said):
        asyncio.run(attempt())


def test_a_field_that_is_not_there() -> None:
    """Is an ``AttributeError`` that names those that are."""
    with pytest.raises(AttributeError, match="no field 'statu': id, status"):
        _ = Row(id=1, status="x").statu


def test_step_by_step() -> None:
    """Each call lets one node run; the plugin hears of the end once."""

    async def whole() -> tuple[list[str], list[str]]:
        workflow = await greeting()
        recorder = Recorder()
        executor = WorkflowExecutor()
        executor.register_plugin(recorder)
        execution = await executor.execute_workflow(workflow.id, {"who": "ann"}, step_by_step=True)
        statuses = [execution.status]
        while execution.status == "paused":
            execution = await executor.step(execution.id)
            statuses.append(execution.status)
        return statuses, recorder.calls

    statuses, calls = asyncio.run(whole())
    assert statuses == ["paused", "paused", "success"]
    assert calls == ["before 1", *("node 1 success", "node 2 success", "node 3 success"), "after 1 success"]


class Recorder(WorkflowPlugin):
    """Records its calls, and changes whatever it gets."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def before_execution(self, workflow_id: int, input_data: Any) -> None:
        """Record it."""
        self.calls.append(f"before {workflow_id}")
        input_data.clear()

    async def after_execution(self, execution_id: int, result: Row) -> None:
        """Record it."""
        self.calls.append(f"after {execution_id} {result.status}")
        result.clear()

    async def on_node_execution(self, node_id: int, context: Row) -> None:
        """Record it."""
        self.calls.append(f"node {node_id} {context.status}")
        context.clear()


class Broken:
    """Raises at every call, of which one is not even there."""

    async def before_execution(self, workflow_id: int, input_data: Any) -> None:
        """Fail."""
        raise RuntimeError("broken")

    def on_node_execution(self, node_id: int, context: Row) -> None:
        """Fail, and not even as a coroutine."""
        raise RuntimeError("broken")


def test_a_plugin_that_raises_is_logged_once_and_changes_nothing() -> None:
    """The others are called, and the execution ends as it would."""

    async def whole() -> tuple[Row, list[str]]:
        workflow = await greeting()
        recorder, executor = Recorder(), WorkflowExecutor()
        executor.register_plugin(Broken())  # type: ignore[arg-type]
        executor.register_plugin(recorder)
        return await executor.execute_workflow(workflow.id, {"who": "ann"}), recorder.calls

    with logged() as lines:
        execution, calls = asyncio.run(whole())
    assert (execution.status, execution.output_data) == ("success", "hello ann")
    assert len(calls) == 5
    warnings = [line for line in lines if "plugin" in line]
    assert warnings == ["WARNING: the plugin Broken failed in before_execution: RuntimeError('broken')\n"]


def test_debug_logs_each_step() -> None:
    """With what it got and what it gave."""

    async def whole() -> None:
        workflow = await greeting(template="{{input.who + 1}}")
        await WorkflowExecutor(debug=True).execute_workflow(workflow.id, {"who": "ann"})

    with logged() as lines:
        asyncio.run(whole())
    steps = [line for line in lines if "step Text" in line]
    assert len(steps) == 1
    assert "failed" in steps[0]
    assert "error" in steps[0]


def test_a_call_that_is_cancelled_cancels_the_execution() -> None:
    """It does not go on without anybody."""

    async def whole() -> Row:
        orchestrator, monitor = WorkflowOrchestrator(), WorkflowMonitor()
        workflow = await orchestrator.create_workflow("slow")
        await orchestrator.add_node(workflow.id, "Wait", NodeType.DELAY, {"seconds": 50})
        call = asyncio.create_task(WorkflowExecutor().execute_workflow(workflow.id))
        while not [each for each in await monitor.get_active_executions() if each.current_node == "Wait"]:
            await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        return await monitor.get_execution_details(1)

    assert asyncio.run(whole()).status == "cancelled"


def test_the_example_of_the_document_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """And gives what its text says."""
    text = DOCUMENT.read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    space: dict[str, Any] = {}
    exec(compile(code, DOCUMENT.name, "exec"), space)
    assert (space["output"], space["success_rate"]) == ("hello ann", 100.0)
    assert capsys.readouterr().out == "Start success\nText success\nEnd success\n"
    named = set(re.findall(r"`((?:get|create|add|export|import|execute|register|before|after|on)_\w+)", text))
    classes = (WorkflowOrchestrator, WorkflowExecutor, WorkflowMonitor, WorkflowPlugin)
    methods = {name for each in classes for name in vars(each) if not name.startswith("_")}
    assert methods - {"step", "resume", "publish"} <= named


def test_the_guides_parallel_and_loop_examples() -> None:
    """They define drafts, which can be executed as they are; the APIs they name are not registered."""
    asyncio.run(example(0)["parallel_example"]())
    asyncio.run(example(1)["loop_example"]())

    async def execute() -> None:
        orchestrator, executor = WorkflowOrchestrator(), WorkflowExecutor()
        loop, parallel = await orchestrator.get_workflows()
        assert [node.name for node in await orchestrator.get_workflow_nodes(parallel.id)] == [
            *("并行处理", "任务1", "任务2"),
        ]
        execution = await executor.execute_workflow(parallel.id)
        assert "there is no API" in execution.error_message
        execution = await executor.execute_workflow(loop.id, {"max_count": 0, "data": []})
        assert execution.status == "success"

    asyncio.run(execute())


def test_the_guides_conditions_and_mappings() -> None:
    """Every condition is an expression, and every mapping names paths."""
    conditions = [line.strip('"') for line in EXAMPLES[2].splitlines() if line.startswith('"')]
    assert len(conditions) == 8
    for condition in conditions:
        parse(condition)
    mappings = ast.literal_eval(
        "{" + re.sub(r"^#.*$", ",", EXAMPLES[3], flags=re.MULTILINE).lstrip("\n,") + "}"
    )
    for path in mappings["output_mapping"].values():
        parse(path)


def test_the_guides_monitoring_examples(capsys: pytest.CaptureFixture[str]) -> None:
    """They print what the monitor knows."""

    async def executed() -> Row:
        workflow = await greeting()
        await WorkflowExecutor().execute_workflow(workflow.id, {"who": "ann"})
        failing = await greeting(template="{{input.who + 1}}")
        await WorkflowExecutor().execute_workflow(failing.id, {"who": "ann"})
        await WorkflowExecutor().execute_workflow(workflow.id, {"who": "ann"}, step_by_step=True)
        return failing

    failing = asyncio.run(executed())
    asyncio.run(example(4, workflow_id=failing.id)["monitoring_example"]())
    out = capsys.readouterr().out
    assert "总执行次数: 1\n成功率: 0.0%\n" in out
    assert "错误类型: ExpressionError\n发生次数: 1\n" in out
    asyncio.run(example(5)["real_time_monitoring"]())
    out = capsys.readouterr().out
    assert "执行ID: 3\n当前状态: paused\n" in out
    assert "当前活跃执行数: 1\n每分钟执行数: 3\n" in out


def test_the_guides_debugging_example(capsys: pytest.CaptureFixture[str]) -> None:
    """Steps are printed by their attributes; one node is run."""
    workflow = asyncio.run(greeting())
    first = asyncio.run(WorkflowExecutor().execute_workflow(workflow.id, {"who": "ann"}))
    names = {"execution_id": first.id, "workflow_id": workflow.id, "input_data": {"who": "ann"}}
    space = example(6, monitor=WorkflowMonitor(), **names)
    assert "步骤: Text\n状态: success\n" in capsys.readouterr().out
    assert space["execution"].status == "paused"


def test_the_guides_plugin_example(capsys: pytest.CaptureFixture[str]) -> None:
    """A plugin of a class of its own is called too."""
    workflow = asyncio.run(greeting())
    executor = example(7)["executor"]
    asyncio.run(executor.execute_workflow(workflow.id, {"who": "ann"}))
    assert capsys.readouterr().out == f"开始执行工作流 {workflow.id}\n工作流执行完成 1\n"
