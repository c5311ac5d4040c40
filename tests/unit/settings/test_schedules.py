"""config/deployments.yaml: what is run and when, in its own form and the old one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flowledger.errors import SettingsError
from flowledger.settings.schedules import (
    FILE,
    USUAL,
    ScheduleSettings,
    deployments_schema,
    load_schedules,
    read_schedules,
)
from flowledger.settings.validators import PERIODS_OF_BOUNDS, period_of_bounds

ROOT = Path(__file__).parents[3]
OLD_FORM = {
    "schedule": "0 2 * * *",
    "parameters": {
        "keyword": None,
        "status": None,
        "created_at_after": "{{ yesterday }}",
        "created_at_before": "{{ today }}",
        "output_format": "csv",
        "with_details": True,
        "with_node_executions": True,
    },
}


def entry(given: Mapping[str, Any], key: str = "daily_report") -> ScheduleSettings:
    """Read one entry."""
    return read_schedules({key: given})[key]


def problems(document: Any) -> tuple[str, ...]:
    """Give the lines that reading ends with."""
    with pytest.raises(SettingsError) as caught:
        read_schedules(document)
    return caught.value.problems


def test_the_file_of_the_project_says_what_counts_without_it(tmp_path: Path) -> None:
    """An installation without the file has the same deployments."""
    assert load_schedules(ROOT) == load_schedules(tmp_path) == read_schedules(USUAL)


def test_names_crons_and_tags_are_those_people_know() -> None:
    """They are a promise to those who call them."""
    found = read_schedules(USUAL)
    assert {key: (each.name, each.schedule) for key, each in found.items()} == {
        "daily_report": ("daily-workflow-report", "0 2 * * *"),
        "weekly_report": ("weekly-workflow-report", "0 3 * * 1"),
        "custom_report": ("custom-workflow-report", None),
        "cleanup": ("cleanup-storage", "30 4 * * *"),
    }
    assert found["daily_report"].tags == ("daily", "report", "workflow")
    assert set(found["weekly_report"].tags) >= {"weekly", "report"}
    assert [found[key].period for key in ("daily_report", "weekly_report")] == ["yesterday", "last_week"]


def test_the_old_form_means_a_period() -> None:
    """Bounds become the period, empty parameters go, and name and tags are the usual ones."""
    found = entry(OLD_FORM)
    assert (found.name, found.period, found.schedule) == ("daily-workflow-report", "yesterday", "0 2 * * *")
    assert found.tags == ("daily", "report", "workflow")
    assert found.parameters == {
        "output_format": "csv",
        "with_details": True,
        "with_node_executions": True,
    }


@pytest.mark.parametrize(("words", "period"), PERIODS_OF_BOUNDS.items())
def test_every_known_pair_of_bounds_is_a_period(words: tuple[str, str | None], period: str) -> None:
    """Spaces inside the braces do not matter."""
    after, before = (word and f"{{{{{word}  }}}}" for word in words)
    assert period_of_bounds(after, before) == period


@pytest.mark.parametrize(
    "bounds",
    [
        ("2026-01-01", None),
        ("{{ yesterday }}", None),
        ("yesterday", "today"),
        (None, "{{ today }}"),
        ("{{ today }}", "{{ yesterday }}"),
        ("{{ tomorrow", "{{ today }}"),
        (20260101, "{{ today }}"),
    ],
)
def test_other_bounds_are_refused_with_what_to_write(bounds: tuple[Any, Any]) -> None:
    """A fixed or half period would report the same days for ever, or none."""
    (line,) = problems(
        {"nightly": {"parameters": dict(zip(("created_at_after", "created_at_before"), bounds, strict=True))}}
    )
    assert line.startswith(f"nightly in {FILE}: ")
    assert "write period: yesterday" in line


def test_no_bounds_are_no_period() -> None:
    """Empty ones count as left out."""
    assert period_of_bounds(None, "") is None


def test_two_different_periods_are_refused() -> None:
    """Nobody can tell which one is meant."""
    (line,) = problems({"daily_report": {**OLD_FORM, "period": "last_week"}})
    assert "several periods (last_week, yesterday)" in line


def test_formats_are_words_or_a_list() -> None:
    """The flow takes them between commas."""
    given = {"parameters": {"output_format": ["csv", "json"]}}
    assert entry(given).parameters == {"output_format": "csv,json"}
    assert entry({"parameters": {"output_format": "csv, json"}}).parameters == {"output_format": "csv,json"}


def test_an_entry_of_ones_own_is_called_by_its_key() -> None:
    """A name need not be thought of."""
    assert entry({"schedule": "5 1 1 * *", "period": "last_month"}, "monthly_report").name == "monthly-report"


@pytest.mark.parametrize(
    "cron", ["0 2 * * *", "*/15 8-18 * * 1-5", "0 3 * * MON", "30 4 1 JAN,JUL *", "0 0 L * *"]
)
def test_crons_of_five_fields_are_taken(cron: str) -> None:
    """Steps, ranges, lists and names are known."""
    assert entry({"schedule": cron}).schedule == cron


@pytest.mark.fault(35)
@pytest.mark.parametrize(
    "cron", ["", "@daily", "61 2 * * *", "0 25 * * *", "0 2 * *", "0 2 * * * *", "0 2 31 2 *", "H 2 * * *", 5]
)
def test_other_crons_are_refused_by_their_place(cron: object) -> None:
    """What never fires is no schedule."""
    (line,) = problems({"daily_report": {"schedule": cron}})
    assert line.startswith(f"daily_report.schedule in {FILE}: ")


@pytest.mark.fault(35)
def test_everything_wrong_is_said_at_once() -> None:
    """Each line names the entry, the field and the remedy."""
    lines = problems(
        {
            "daily_report": {"paramters": {}, "parameters": {"with_detail": True, "output_format": "pdf"}},
            "cleanup": {"parameters": {"keyword": "x"}},
            "a b": {},
            "text": "0 2 * * *",
            "tagged": {"tags": ["app:1"], "name": "with space"},
            "one": {"name": "same"},
            "two": {"name": "same"},
        }
    )
    text = "\n".join(lines)
    for part in (
        "daily_report.paramters in config/deployments.yaml: unknown setting, did you mean parameters?",
        "daily_report.parameters.with_detail in config/deployments.yaml: unknown setting, did you mean with",
        "unknown report format 'pdf'",
        "cleanup.parameters.keyword in config/deployments.yaml: unknown setting",
        "a b in config/deployments.yaml: an entry is called by a letter",
        "text in config/deployments.yaml: must be a mapping",
        "'app:1' is a tag by which deployments are found again",
        "tagged.name in config/deployments.yaml: must be 1 to 100 letters",
        "two.name in config/deployments.yaml: one is called 'same' too",
    ):
        assert part in text
    assert len(lines) == 9


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (b"daily_report: [", "line 1 of config/deployments.yaml: is not valid YAML"),
        (b"- a", "config/deployments.yaml: must be a mapping"),
        (b"\xff\xfe\x00", "config/deployments.yaml: cannot be read"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: bytes, part: str) -> None:
    """The line of the mistake is named where there is one."""
    (tmp_path / "config").mkdir()
    (tmp_path / FILE).write_bytes(text)
    with pytest.raises(SettingsError, match=part):
        load_schedules(tmp_path)


def test_an_empty_file_means_no_deployments(tmp_path: Path) -> None:
    """Who empties it wants none."""
    (tmp_path / "config").mkdir()
    (tmp_path / FILE).write_text("# nothing\n", "utf-8")
    assert load_schedules(tmp_path) == {}


def test_an_entry_can_execute_a_workflow() -> None:
    """Its name or number is all it needs; its zone is its own."""
    entries = read_schedules(
        {
            "night": {"workflow": "orders", "schedule": "0 1 * * *", "timezone": "UTC", "input": {"n": 1}},
            "by_hand": {"workflow": 7},
        }
    )
    night, by_hand = entries["night"], entries["by_hand"]
    assert (night.flow, night.workflow, night.timezone, night.input) == (
        "workflow",
        "orders",
        "UTC",
        {"n": 1},
    )
    assert (by_hand.workflow, by_hand.schedule, by_hand.timezone) == ("7", None, None)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"flow": "workflow"}, "names no workflow"),
        ({"flow": "report", "workflow": "x"}, "are for entries of workflows"),
        ({"timezone": "UTC"}, "are for entries of workflows"),
        ({"workflow": "x", "parameters": {"keyword": "y"}}, "keyword"),
        ({"workflow": "x", "timezone": "Nowhere/City"}, "timezone"),
    ],
)
def test_an_entry_is_a_workflows_or_an_apps(entry: dict[str, Any], reason: str) -> None:
    """What belongs to the other kind is refused."""
    with pytest.raises(SettingsError, match=reason):
        read_schedules({"one": entry})


def test_the_schema_knows_every_field() -> None:
    """Editors complete what can be said."""
    schema = deployments_schema()
    known = schema["$defs"]
    assert known["ScheduleSettings"]["properties"].keys() == ScheduleSettings.model_fields.keys()
    assert {"ReportParameters", "CleanupParameters"} <= known.keys()
