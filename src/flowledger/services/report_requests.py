"""What a caller asks for, as one checked value, and what is known of a run before its result."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from flowledger.domain.history import OperationQuery
from flowledger.domain.messages import previous_figures
from flowledger.domain.run_filters import RunFilter
from flowledger.domain.runs import AppKey, Json, Level, RunStatus
from flowledger.domain.texts import split_list
from flowledger.domain.windows import CUSTOM, Window, parse_end, parse_instant, resolve_period, zone
from flowledger.errors import UsageError
from flowledger.plugins import REPORT_FORMATS
from flowledger.ports import Ledger

SOURCE_WORDS: Mapping[str, str] = {
    RunStatus.SUCCESS: "succeeded",
    RunStatus.PARTIAL: "partial-succeeded",
    RunStatus.CANCELLED: "stopped",
    "succeeded": "succeeded",
    "failed": "failed",
    "stopped": "stopped",
    "partial-succeeded": "partial-succeeded",
    "running": "running",
    "paused": "paused",
}
"""The words a caller may use for a status: the source's own, and the ledger's where they differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOrder:
    """What a person or a schedule orders, as flat words; None leaves a choice to the app's settings.

    ``schedule`` is the key of the schedule whose report this is, ``is_late`` whether it is made up for.
    """

    app: str | None = None
    period: str | None = None
    after: str | None = None
    before: str | None = None
    timezone: str | None = None
    formats: str | None = None
    output_dir: str | None = None
    status: str | None = None
    keyword: str | None = None
    with_details: bool = True
    with_node_executions: bool = True
    save_data: bool = False
    schedule: str | None = None
    is_late: bool = False


_PARAMETERS: Mapping[str, str] = {
    "app": "app",
    "period": "period",
    "timezone": "timezone",
    "keyword": "keyword",
    "status": "status",
    "before": "created_at_before",
    "after": "created_at_after",
    "formats": "output_format",
    "output_dir": "output_dir",
    "with_details": "with_details",
    "with_node_executions": "with_node_executions",
    "save_data": "save_data",
}
"""Field of an order → parameter of the flow ``fetch-workflow-logs``, which deployments and schedules name."""
_FLAGS = {"with_details": True, "with_node_executions": True, "save_data": False}


def parameters_of(order: RunOrder) -> dict[str, Any]:
    """Return an order by the names of the flow's parameters; what it leaves open is left to the flow.

    ``save_data`` is left out where it is off: a deployment's own choice must not be overruled.
    """
    values = {parameter: getattr(order, name) for name, parameter in _PARAMETERS.items()}
    return {
        parameter: value
        for parameter, value in values.items()
        if value is not None and (parameter, value) != ("save_data", False)
    }


def order_from(parameters: Mapping[str, Any]) -> RunOrder:
    """Return the order that a flow's parameters hold.

    It never raises: parameters that nobody can use may be why a run failed, and its failure is told with
    what can be read of them.  The period ``yesterday`` beside bounds is the form's default, not a choice.
    """
    values: dict[str, Any] = {
        name: str(parameters[parameter])
        for name, parameter in _PARAMETERS.items()
        if name not in _FLAGS and parameters.get(parameter)
    }
    if values.setdefault("period", "yesterday") == "yesterday" and values.keys() & {"after", "before"}:
        del values["period"]
    values |= {name: bool(parameters.get(name, default)) for name, default in _FLAGS.items()}
    return RunOrder(**values)


@dataclass(frozen=True, slots=True)
class ReportContent:
    """Where a report is and what is in it: prefix or folder of its storage, formats, and level of details."""

    storage: str = ""
    formats: tuple[str, ...] = ()
    level: Level = Level.NONE

    def includes(self, other: "ReportContent") -> bool:
        """Return whether a reader of the other finds all of it here."""
        return (
            self.storage == other.storage
            and set(self.formats) >= set(other.formats)
            and self.level >= other.level
        )

    def to_json(self) -> dict[str, Json]:
        """Return the content as the record of a report has it."""
        return {"storage": self.storage, "formats": list(self.formats), "details": self.level.name.lower()}

    @classmethod
    def from_json(cls, values: Mapping[str, Json]) -> "ReportContent | None":
        """Return what the record of a report says of its content; None where it was written before it did."""
        storage, formats, details = (values.get(name) for name in ("storage", "formats", "details"))
        if not isinstance(storage, str) or not isinstance(formats, list | tuple):
            return None
        levels = {level.name.lower(): level for level in Level}
        return cls(storage, tuple(map(str, formats)), levels.get(str(details), Level.NONE))


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """One report on one app: which window, which runs, how deep, in which formats.

    ``instant`` (aware) is the scheduled time that the period is seen from.
    """

    period: str
    instant: datetime
    tz: ZoneInfo
    formats: tuple[str, ...]
    after: datetime | None = None
    before: datetime | None = None
    run_filter: RunFilter = field(default_factory=RunFilter)
    with_details: bool = True
    with_node_executions: bool = True

    @property
    def window(self) -> Window:
        """The period's window as seen from the instant; it may reach into the future."""
        return resolve_period(
            self.period, instant=self.instant, tz=self.tz, after=self.after, before=self.before
        )

    @property
    def level(self) -> Level:
        """How deep a detail is wanted; a keyword that we look for ourselves needs inputs and outputs."""
        return requested_level(self.with_details, self.with_node_executions)


def requested_level(with_details: bool, with_node_executions: bool) -> Level:  # two flags of an order
    """Return the level of details that the two flags of an order mean."""
    if not with_details:
        return Level.NONE
    return Level.NODES if with_node_executions else Level.RUN


def formats_of(order: RunOrder, formats: Sequence[str]) -> tuple[str, ...]:
    """Return the formats of an order; ``formats`` are the app's own, where it names none.

    :raises UsageError: with the existing names, for an unknown one or none.
    """
    return parse_formats([*parse_formats(order.formats or formats), *(["data"] * order.save_data)])


def request_of(order: RunOrder, *, instant: datetime, tz: ZoneInfo, formats: Sequence[str]) -> ReportRequest:
    """Fold an order into a request; ``tz`` and ``formats`` are the app's own, where the order names none.

    Bounds without a period mean ``custom``; neither means ``yesterday``.

    :raises UsageError: for any word that cannot be read, with the known ones.
    """
    tz = zone(order.timezone) if order.timezone else tz
    after = parse_instant(order.after, tz) if order.after else None
    before = parse_end(order.before, tz) if order.before else None
    period = order.period or (CUSTOM if after or before else "yesterday")
    request = ReportRequest(
        period=period,
        instant=instant,
        tz=tz,
        formats=formats_of(order, formats),
        after=after,
        before=before,
        run_filter=RunFilter(status=parse_status(order.status), keyword=order.keyword or None),
        with_details=order.with_details,
        with_node_executions=order.with_node_executions,
    )
    _ = request.window  # raises for a period and bounds that contradict each other
    return request


def parse_formats(text: str | Iterable[str]) -> tuple[str, ...]:
    """Read ``csv,markdown`` or a list of names; each once, in the order given.

    :raises UsageError: with the known names, for an unknown one or none.
    """
    words = split_list(text) if isinstance(text, str) else list(text)
    names = tuple(dict.fromkeys(word.strip().lower() for word in words if word.strip()))
    unknown = [name for name in names if name not in REPORT_FORMATS]
    if unknown or not names:
        what = f"unknown report format {', '.join(map(repr, unknown))}" if unknown else "no report format"
        raise UsageError(f"{what}: one or more of {', '.join(REPORT_FORMATS)}")
    return names


def parse_status(word: str | None) -> str | None:
    """Return the source's word for a status, None for none.

    :raises UsageError: with the known words, for an unknown one.
    """
    if not word:
        return None
    if word not in SOURCE_WORDS:
        raise UsageError(f"unknown status {word!r}: one of {', '.join(_sorted(SOURCE_WORDS))}")
    return SOURCE_WORDS[word]


def _sorted(words: Iterable[str]) -> Sequence[str]:
    return sorted(str(word) for word in words)


LOOKED_BACK = 500
"""So many of an app's operations are searched for the report of the period before."""


@dataclass(frozen=True, slots=True)
class RunAttempt:
    """One attempt at a run: its id, the same in every process that announces it, and its page for people."""

    run_id: str = ""
    url: str = ""


def partial_result(order: RunOrder, request: ReportRequest | None) -> Mapping[str, Json]:
    """Return period and window as a result has them; without a window where the order cannot be read."""
    late: dict[str, Json] = {"late": True} if order.is_late else {}
    if request is None:
        return {"period": order.period or (CUSTOM if order.after or order.before else ""), **late}
    return {"period": request.period, "window": window_of(request.window, request.tz), **late}


def window_of(window: Window, tz: tzinfo) -> dict[str, str]:
    """Return the first and the last second of a window as a result has them: ISO 8601 in a zone."""
    return {
        "after": window.after_at.astimezone(tz).isoformat(),
        "before": window.before_at.astimezone(tz).isoformat(),
    }


def figures_before(ledger: Ledger, app: AppKey, result: Mapping[str, Json]) -> Mapping[str, Json]:
    """Find the figures of the period before a result's; empty where they are unknown or cannot be compared.

    :raises LedgerError: when the ledger cannot be read.
    """
    window = result.get("window")
    if result.get("filtered") or not isinstance(window, Mapping):
        return {}
    first, last = (datetime.fromisoformat(str(window[end])) for end in ("after", "before"))
    operations = ledger.operations(OperationQuery(apps=(app,)), limit=LOOKED_BACK)
    return previous_figures(operations, str(result.get("period")), Window.between(first, last))
