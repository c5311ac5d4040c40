"""Between the program's own log and Prefect's run logs: each has every line, once, without secrets."""

import logging
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from logging import Logger, LoggerAdapter, LogRecord
from threading import Lock
from typing import TYPE_CHECKING, Any

from loguru import logger as program_log
from prefect import runtime
from prefect.context import FlowRunContext
from prefect.logging.handlers import APILogHandler

from flowledger.errors import FlowledgerError, SettingsError
from flowledger.services.log_files import ALREADY_ON_CONSOLE, has_latest_plan, logging_as_before, on_stderr
from flowledger.services.secret_masking import redacted

if TYPE_CHECKING:
    from loguru import Message, Record


MOST_REMEMBERED = 100
"""Flow runs of one process; the oldest are forgotten."""

_lock = Lock()
_app_names: dict[str, dict[str, str]] = {}


def note_app(flow_run_id: str | None, name: str | None, app_id: str | None = None) -> None:
    """Note which app a flow run is about: from now on all its lines say so; what was noted first stays."""
    names = {key: value for key, value in (("app", name), ("app_id", app_id)) if value}
    if not flow_run_id or not names:
        return
    with _lock:
        _app_names[flow_run_id] = {**names, **_app_names.pop(flow_run_id, {})}
        while len(_app_names) > MOST_REMEMBERED:
            del _app_names[next(iter(_app_names))]


def app_names(flow_run_id: str | None) -> Mapping[str, str]:
    """Return the app as metadata of a line: as it was noted, or else from the run's own parameters."""
    if flow_run_id is None:
        return {}
    return _app_names.get(flow_run_id) or _parameter_app(flow_run_id)


def _parameter_app(flow_run_id: str) -> dict[str, str]:
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or str(context.flow_run.id) != flow_run_id:
        return {}
    app = (context.parameters or {}).get("app")
    return {"app": str(app)} if app else {}


RunLog = Logger | LoggerAdapter[Any]
"""A task's or flow's log, as Prefect gives it."""
RUN_LOGS = ("prefect.flow_runs", "prefect.task_runs")
FORWARDED = "flowledger_forwarded"
LOGURUS_OWN_SINK = 0
ENDS_OF_FAILURE = ("Finished in state Failed", "Finished in state Crashed")


@dataclass(frozen=True, slots=True)
class _Run:
    """A flow or task run under way: its log, what Prefect notes with each line, and its ids as ours are."""

    log: Logger
    noted: Mapping[str, Any]
    ids: Mapping[str, str]


@dataclass(slots=True)
class _Forwarding:
    """One sink for all runs of the process, so that none of them takes another's lines."""

    lock: Lock = field(default_factory=Lock)
    runs: list[_Run] = field(default_factory=list)
    sink: int | None = None

    def begin(self, run: _Run) -> None:
        with self.lock:
            self.runs = [*self.runs, run]
            if self.sink is None:
                # Neither variables nor frames: they could hold keys.
                self.sink = program_log.add(
                    self.write, level="DEBUG", format="{message}", backtrace=False, diagnose=False
                )

    def end(self, run: _Run) -> None:
        with self.lock:
            self.runs = [each for each in self.runs if each is not run]
            if not self.runs and self.sink is not None:
                program_log.remove(self.sink)
                self.sink = None

    def write(self, message: "Message") -> None:
        record = message.record
        run = None if record["extra"].get(ALREADY_ON_CONSOLE) else self.run_of(record["extra"])
        if run is None or not run.log.isEnabledFor(record["level"].no):
            return
        line = _line(record, run)
        if on_stderr():
            APILogHandler().handle(line)  # the console has it already
        else:
            run.log.handle(line)

    def run_of(self, extra: Mapping[str, Any]) -> _Run | None:
        """Return the run a line belongs to: by its ids, or the only flow run where a thread lost them."""
        record_ids = {name: extra[name] for name in ("flow_run_id", "task_id") if name in extra}
        matching = [run for run in self.runs if record_ids.items() <= run.ids.items()]
        if record_ids or len({run.ids.get("flow_run_id") for run in matching}) == 1:
            return matching[-1] if matching else None
        return None


_forwarding = _Forwarding()


@contextmanager
def forwarded_to(run_log: RunLog) -> Iterator[None]:
    """Write what the program logs, threads included, to a run's log as well, until the context ends."""
    log, noted = _taken_apart(run_log)
    # Hooks of a crashed run are called in another process, which is in no run.
    ids = run_ids() or _ids_in(noted)
    run = _Run(log, noted, ids)
    _forwarding.begin(run)
    try:
        with program_log.contextualize(**app_names(ids.get("flow_run_id")), **ids):
            yield
    finally:
        _forwarding.end(run)


def _taken_apart(run_log: RunLog) -> tuple[Logger, Mapping[str, Any]]:
    """Return the logger behind a run's log, and the values that Prefect adds to each of its lines."""
    noted: dict[str, Any] = {}
    while isinstance(run_log, LoggerAdapter):
        noted = {**(run_log.extra or {}), **noted}
        run_log = run_log.logger
    return run_log, noted


def run_ids() -> dict[str, str]:
    """Return the ids of the flow run and task run under way, for the lines of the program's log."""
    ids = {"flow_run_id": runtime.flow_run.id, "task_id": runtime.task_run.id}
    return {name: str(value) for name, value in ids.items() if value}


def _ids_in(noted: Mapping[str, Any]) -> dict[str, str]:
    ids = {"flow_run_id": noted.get("flow_run_id"), "task_id": noted.get("task_run_id")}
    return {name: str(value) for name, value in ids.items() if value}


def _line(record: "Record", run: _Run) -> LogRecord:
    """Return a line as Prefect's handlers take it; with the run's ids, since a thread may have none."""
    level = record["level"].no
    text = redacted(record["message"])
    error = record["exception"]
    if error is not None and error.type is not None:
        text += redacted(f"\n{error.type.__name__}: {error.value}")
    line = LogRecord(run.log.name, level, record["file"].path, record["line"], text, (), None)
    line.created = record["time"].timestamp()
    vars(line).update(run.noted)
    if "flow_run_id" in run.ids:
        line.flow_run_id = run.ids["flow_run_id"]
        line.task_run_id = run.ids.get("task_id")
    setattr(line, FORWARDED, True)
    return line


class RunLogTap(logging.Filter):
    """Takes secrets out of the lines of a run's log, and writes them to the program's own log too.

    An error raised on purpose says all a person needs, so it is shown without its traceback.
    """

    def __init__(self) -> None:
        """Begin with no failure on record."""
        super().__init__()
        self._failed: set[tuple[str, ...]] = set()

    def filter(self, record: LogRecord) -> bool:
        """Pass every record on, without secrets."""
        if getattr(record, FORWARDED, False):
            return True
        record.msg, record.args = redacted(_message(record)), ()
        error = record.exc_info[1] if record.exc_info else None
        record.exc_info, record.exc_text = None, _trace(error)
        ids = _ids_in(vars(record))
        if not self._is_repeated(record, tuple(ids.values())):
            self._write_to_program_log(record, ids)
        return True

    def _is_repeated(self, record: LogRecord, run: tuple[str, ...]) -> bool:
        """Return whether a run's last line only repeats the error that an earlier line has."""
        text = str(record.msg)
        if text.startswith("Finished in state"):
            has_failed = run in self._failed
            self._failed.discard(run)
            return has_failed and text.startswith(ENDS_OF_FAILURE)
        if record.levelno >= logging.ERROR and has_latest_plan():
            self._failed.add(run)
        return False

    def _write_to_program_log(self, record: LogRecord, ids: Mapping[str, str]) -> None:
        text = "\n".join(part for part in (str(record.msg), record.exc_text) if part)
        names = app_names(ids.get("flow_run_id"))
        # A log folder that cannot be written was reported where the run itself opened it.
        with suppress(SettingsError), logging_as_before():
            line = program_log.bind(**names, **ids, **{ALREADY_ON_CONSOLE: True}).patch(
                partial(_rename, record.name)
            )
            line.log(_level(record.levelno), "{}", text)


def _rename(name: str, line: "Record") -> None:
    line["name"] = name


def _message(record: LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        return f"{record.msg} {record.args}"  # a caller's mistake must not end a run


def _trace(error: BaseException | None) -> str | None:
    if error is None or isinstance(error, FlowledgerError):
        return None
    return redacted("".join(traceback.format_exception(error)).rstrip())


def _level(number: int) -> str | int:
    names = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}
    return names.get(number, number)


# A worker's processes do not start in our command: loguru itself would show each line once more,
# and the variables of tracebacks, which could hold keys.
with suppress(ValueError):
    program_log.remove(LOGURUS_OWN_SINK)
_tap = RunLogTap()
for _name in RUN_LOGS:
    # As soon as there are flows: Prefect itself writes to these logs before and after a flow's own code.
    logging.getLogger(_name).addFilter(_tap)


STEP = 1000
"""How many steps lie between two lines; a run log is read by people."""


@dataclass(slots=True)
class LogProgress:
    """Writes stages and notes to a logger."""

    logger: RunLog
    name: str = ""
    steps: int = 0

    def stage(self, name: str, total: int | None) -> None:
        """Begin a stage of so many steps."""
        self.name, self.steps = name, 0
        self.logger.info("%s%s", name, "" if total is None else f": {total} runs")

    def advance(self, steps: int = 1) -> None:
        """So many steps further."""
        before, self.steps = self.steps, self.steps + steps
        if before // STEP != self.steps // STEP:
            self.logger.info("%s: %d so far", self.name, self.steps)

    def note(self, text: str) -> None:
        """Write a note."""
        self.logger.info("%s", text)
