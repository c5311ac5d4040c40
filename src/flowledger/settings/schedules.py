"""Which flows run when: config/deployments.yaml, typed, or every problem in it with its place."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from cronsim import CronSim, CronSimError
from pydantic import (
    AfterValidator,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from flowledger.errors import SettingsError
from flowledger.settings.config_files import read_yaml
from flowledger.settings.types import Formats, Frozen, NotEmpty, Tags, ZoneName
from flowledger.settings.validators import AFTER, BEFORE, period_of_bounds, similar, stray

FILE = "config/deployments.yaml"
CRON_FIELDS = 5
SOME_INSTANT = datetime(2024, 1, 1, tzinfo=UTC)
MARK, OWN_TAGS = "flowledger", ("app:", "schedule:")
USUAL: Mapping[str, Mapping[str, Any]] = {
    "daily_report": {
        "name": "daily-workflow-report",
        "schedule": "0 2 * * *",
        "period": "yesterday",
        "tags": ["daily", "report", "workflow"],
        "description": "Collects and reports the day before.",
    },
    "weekly_report": {
        "name": "weekly-workflow-report",
        "schedule": "0 3 * * 1",
        "period": "last_week",
        "tags": ["weekly", "report", "workflow"],
        "description": "Reports the week before, Monday to Sunday.",
    },
    "custom_report": {
        "name": "custom-workflow-report",
        "tags": ["custom", "report", "workflow"],
        "description": 'Any period and filter, started by hand with "Custom run".',
    },
    "cleanup": {
        "name": "cleanup-storage",
        "flow": "cleanup",
        "schedule": "30 4 * * *",
        "tags": ["cleanup"],
        "description": "Removes stored reports that are older, more or larger than the settings keep.",
    },
}
"""The entries where there is no file; they are also the defaults of entries with these keys."""


class ReportParameters(Frozen):
    """Parameters of a report besides app and period; the defaults are those of the app's settings."""

    keyword: NotEmpty | None = None
    status: NotEmpty | None = None
    output_format: Formats | None = None
    output_dir: NotEmpty | None = None
    with_details: bool = True
    with_node_executions: bool = True
    save_data: bool = False
    notify_on_complete: bool = True


class CleanupParameters(Frozen):
    """Parameters of a cleanup besides the app."""

    dry_run: bool = False


class NoParameters(Frozen):
    """A workflow has an input instead."""


PARAMETERS: Mapping[str, type[Frozen]] = {
    "report": ReportParameters,
    "cleanup": CleanupParameters,
    "workflow": NoParameters,
}
"""Flow → the model of its entries' ``parameters``."""


def check_cron(text: str) -> str:
    """Refuse what is no cron of five fields, or one that never fires."""
    if len(text.split()) != CRON_FIELDS:
        raise ValueError(
            f'{text!r} is no cron: write minute hour day month weekday, such as "0 2 * * *" for 02:00'
        )
    try:
        # A cron such as 0 0 30 2 * is well-formed and never fires, which only its first instant shows.
        next(CronSim(text, SOME_INSTANT))
    except (CronSimError, StopIteration) as error:
        raise ValueError(f"{text!r} is no cron: {str(error) or 'it never fires'}") from None
    return text


def _check_name(text: str) -> str:
    if not re.fullmatch(r"[\w.-]{1,100}", text):
        raise ValueError("must be 1 to 100 letters, digits, dots, dashes and underscores")
    return text


def _check_tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    for tag in tags:
        if tag == MARK or tag.startswith(OWN_TAGS):
            raise ValueError(f"{tag!r} is a tag by which deployments are found again: choose another")
    return tags


Cron = Annotated[str, AfterValidator(check_cron), Field(examples=["0 2 * * *"])]


class ScheduleSettings(Frozen):
    """One entry: the deployment it becomes for each app that uses it.

    ``schedule`` is a cron in the app's time zone; None means runs are started by hand.  ``parameters`` has
    those that are set, typed, without defaults.  An entry with a ``workflow`` (name or number) executes that
    with its ``input``, whatever apps there are, in its own ``timezone`` or that of the settings.
    """

    name: Annotated[str, AfterValidator(_check_name)]
    flow: Literal["report", "cleanup", "workflow"] = "report"
    workflow: NotEmpty | None = None
    input: Mapping[str, Any] = Field(default_factory=dict)
    timezone: ZoneName | None = None
    schedule: Cron | None = None
    period: Literal["yesterday", "today", "last_week", "last_month", "last_24h"] = "yesterday"
    tags: Annotated[Tags, AfterValidator(_check_tags)] = ()
    parameters: Mapping[str, Any] = Field(default_factory=dict)
    description: str = ""
    enabled: bool = True

    @field_validator("parameters", mode="before")
    @classmethod
    def _check_parameters(cls, raw: Any, info: ValidationInfo) -> Any:
        """Validate the parameters against those of the flow; empty ones are left out."""
        model = PARAMETERS.get(info.data.get("flow", ""))
        if model is None or not isinstance(raw, dict):
            return raw
        values = {str(name): value for name, value in raw.items() if value not in (None, "")}
        checked = model.model_validate(values)
        return {name: _plain(getattr(checked, name)) for name in sorted(checked.model_fields_set)}

    @model_validator(mode="after")
    def _check_workflow(self) -> Self:
        if self.flow == "workflow" and self.workflow is None:
            raise ValueError("names no workflow: write workflow: and its name or number")
        if self.flow != "workflow" and (self.workflow or self.input or self.timezone):
            raise ValueError("workflow, input and timezone are for entries of workflows: leave out flow")
        return self


def _plain(value: Any) -> Any:
    """Return a list of words as the flows take it."""
    return ",".join(value) if isinstance(value, tuple) else value


def load_schedules(root: Path) -> Mapping[str, ScheduleSettings]:
    """Return the entries of config/deployments.yaml below a root, or the usual ones without that file.

    :raises SettingsError: with a line for each problem.
    """
    try:
        text = (root / FILE).read_text("utf-8-sig")
    except FileNotFoundError:
        return read_schedules(USUAL)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            [f"{FILE}: cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8'})"]
        ) from None
    return read_schedules(read_yaml(text, FILE))


def read_schedules(document: Any) -> Mapping[str, ScheduleSettings]:
    """Return the entries of a document by key, those in the old form included.

    :raises SettingsError: with a line for each problem.
    """
    if document is None:
        return {}
    if not isinstance(document, Mapping):
        raise SettingsError([f"{FILE}: must be a mapping, such as daily_report: and below it its schedule"])
    entries: dict[str, ScheduleSettings] = {}
    wrong: list[str] = []
    for key, raw in document.items():
        try:
            entries[str(key)] = ScheduleSettings.model_validate(completed(str(key), raw))
        except ValidationError as error:
            wrong += [_line(str(key), detail) for detail in error.errors(include_url=False)]
        except ValueError as error:
            wrong.append(f"{key} in {FILE}: {error}")
    wrong += _doubles(entries)
    if wrong:
        raise SettingsError(wrong)
    return entries


def completed(key: str, raw: Any) -> dict[str, Any]:
    """Return one entry with its period from the bounds of the old form, and the defaults of a usual key.

    :raises ValueError: with what is wrong with the key, the bounds or the period.
    """
    if not re.fullmatch(r"[A-Za-z]\w{0,49}", key, re.ASCII):
        raise ValueError("an entry is called by a letter, then letters, digits and underscores, 50 at most")
    if not isinstance(raw, dict):
        raise ValueError("must be a mapping with schedule, period, parameters and the like")  # noqa: TRY004
    values = {str(name): value for name, value in raw.items() if value is not None}
    parameters = values.get("parameters", {})
    if isinstance(parameters, dict):
        parameters = dict(parameters)
        bounds = period_of_bounds(parameters.pop(AFTER, None), parameters.pop(BEFORE, None))
        periods = {values.get("period"), parameters.pop("period", None), bounds} - {None}
        if len(periods) > 1:
            raise ValueError(f"speaks of several periods ({', '.join(sorted(map(str, periods)))}): keep one")
        values |= {"parameters": parameters, **({"period": periods.pop()} if periods else {})}
    if "workflow" in values:
        values = {"flow": "workflow", **values, "workflow": str(values["workflow"])}
    usual = {name: value for name, value in USUAL.get(key, {}).items() if name != "schedule"}
    return {"name": key.replace("_", "-"), **usual, **values}


def _doubles(entries: Mapping[str, ScheduleSettings]) -> Iterator[str]:
    keys: dict[str, str] = {}
    for key, entry in entries.items():
        if keys.setdefault(entry.name, key) != key:
            yield f"{key}.name in {FILE}: {keys[entry.name]} is called {entry.name!r} too: names must differ"


def _line(key: str, detail: ErrorDetails) -> str:
    place = ".".join([key, *map(str, detail["loc"])]) + f" in {FILE}"
    if detail["type"] == "extra_forbidden":
        model = PARAMETERS["report"] if "parameters" in detail["loc"] else ScheduleSettings
        guess = similar(str(detail["loc"][-1]), model.model_fields)
        return stray(place, guess)
    text = detail["msg"]
    for subject in ("Value error, ", "Input "):
        text = text.removeprefix(subject)
    return f"{place}: {text}"


def deployments_schema() -> dict[str, Any]:
    """Return the JSON Schema of config/deployments.yaml, for editors."""
    schema = TypeAdapter(dict[str, ScheduleSettings]).json_schema()
    own = TypeAdapter(ReportParameters | CleanupParameters).json_schema(ref_template="#/$defs/{model}")
    entry = schema["$defs"]["ScheduleSettings"]
    entry["properties"]["parameters"] = {"anyOf": own["anyOf"], "title": "Parameters"}
    entry["required"] = []
    schema["$defs"] |= own["$defs"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": FILE, **schema}
