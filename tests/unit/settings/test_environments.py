"""FLOWLEDGER_ENV: a file of secrets and a file of settings of its own for dev, staging and prod."""

from collections.abc import Callable
from pathlib import Path

import pytest

from flowledger.errors import SettingsError
from flowledger.settings import ConfigManager, Settings

Write = Callable[..., ConfigManager]
Variables = dict[str, str]

ALL_PLACES = {
    ".env.prod": "LOG_LEVEL=ERROR\nSTUCK_AFTER_HOURS=2",
    ".env": "LOG_LEVEL=WARNING\nSTUCK_AFTER_HOURS=3\nLOG_RETENTION_DAYS=3",
    "config/prod.yaml": "log_level: INFO\nlog_retention_days: 4\ndify_max_concurrency: 4\ntimezone: UTC",
    "config/settings.yaml": "log_level: DEBUG\nreport_language: en\ndify_max_concurrency: 5\ntimezone: UTC",
}


@pytest.fixture
def write(tmp_path: Path, app: Variables) -> Write:
    """Write files by name, for a manager whose environment has one app and what is given."""

    def write_files(files: Variables, **environ: str) -> ConfigManager:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text, "utf-8")
        return ConfigManager(tmp_path, app | environ)

    return write_files


def shown(settings: Settings) -> tuple[object, ...]:
    """Give one value for each file, the strongest first, before them that of the environment."""
    return (
        settings.log_level,
        settings.stuck_after_hours,
        settings.log_retention_days,
        settings.dify_max_concurrency,
        settings.report_language,
    )


def test_the_files_of_the_environment_beat_those_without_a_name(write: Write) -> None:
    """Environment > .env.prod > .env > config/prod.yaml > config/settings.yaml > default."""
    manager = write(ALL_PLACES, FLOWLEDGER_ENV="prod", LOG_LEVEL="TRACE")
    settings = manager.load()
    assert shown(settings) == ("TRACE", 2, 3, 4, "en")
    assert (settings.flowledger_env, settings.prefect_work_pool_name) == ("prod", "dify-workflow-pool")


def test_without_an_environment_its_files_are_not_read(write: Write) -> None:
    """No name, or another one, leaves them alone."""
    assert shown(write(ALL_PLACES).load()) == ("WARNING", 3, 3, 5, "en")
    assert shown(write(ALL_PLACES, FLOWLEDGER_ENV="dev").load()) == ("WARNING", 3, 3, 5, "en")


def test_the_environment_may_be_named_in_the_env_file_or_by_a_caller(write: Write) -> None:
    """A caller's word beats the environment's, and that the file's."""
    files = {
        ".env": "FLOWLEDGER_ENV=dev",
        "config/dev.yaml": "timezone: UTC",
        ".env.prod": "TIMEZONE=Asia/Tokyo",
    }
    assert write(files).load().timezone == "UTC"
    assert write(files, FLOWLEDGER_ENV="prod").load().timezone == "Asia/Tokyo"
    assert write(files, FLOWLEDGER_ENV="prod").load({"FLOWLEDGER_ENV": "dev"}).timezone == "UTC"


@pytest.mark.parametrize("name", ["production", "../dev", "DEV"])
def test_an_unknown_environment_is_a_problem(write: Write, name: str) -> None:
    """Only three names are known, so that a mistyped one does not read nothing in silence."""
    with pytest.raises(SettingsError) as caught:
        write({}, FLOWLEDGER_ENV=name).load()
    assert caught.value.problems == ("FLOWLEDGER_ENV in environment: should be 'dev', 'staging' or 'prod'",)


@pytest.mark.parametrize(
    ("place", "text"),
    [(".env.dev", "FLOWLEDGER_ENV=prod"), ("config/settings.yaml", "flowledger_env: prod")],
)
def test_a_file_that_comes_too_late_to_name_the_environment_is_a_problem(
    write: Write, place: str, text: str
) -> None:
    """Which files are read is settled before these are."""
    files = {place: text} | ({".env": "FLOWLEDGER_ENV=dev"} if place == ".env.dev" else {})
    with pytest.raises(SettingsError) as caught:
        write(files).load()
    assert caught.value.problems == (f"FLOWLEDGER_ENV in {place}: must be set in .env or the environment",)


def test_problems_name_the_files_of_the_environment(write: Write) -> None:
    """Every line says which of the files it is about."""
    files = {
        ".env.dev": "TIMEZON=UTC\nSTUCK_AFTER_HOURS=0",
        "config/dev.yaml": "colour: red\napps: [3]\nlog_dir: ${NOWHERE}",
    }
    with pytest.raises(SettingsError) as caught:
        write(files, FLOWLEDGER_ENV="dev").load()
    assert sorted(caught.value.problems) == [
        "NOWHERE is not set: config/dev.yaml refers to it",
        "STUCK_AFTER_HOURS in .env.dev: should be greater than or equal to 1",
        "TIMEZON in .env.dev: unknown variable, did you mean TIMEZONE?",
        "apps[0] in config/dev.yaml: must be a mapping with id, base_url, api_token",
        "colour in config/dev.yaml: unknown setting",
    ]


def test_the_apps_of_an_environment_replace_those_of_all(write: Write) -> None:
    """A list is one value: that of the stronger file counts, its keys taken from either .env."""
    listed = 'apps: [{id: %s, base_url: "http://h", api_token: "${%s}"}]'
    files = {
        ".env": "SHARED_TOKEN=app-shared\nOWN_TOKEN=app-weaker",
        ".env.dev": "OWN_TOKEN=app-own",
        "config/settings.yaml": listed % ("common", "SHARED_TOKEN"),
        "config/dev.yaml": listed % ("trial", "OWN_TOKEN"),
    }
    assert [each.id for each in write(files).load().apps] == ["app-1", "common"]
    settings = write(files, FLOWLEDGER_ENV="dev").load()
    assert [each.id for each in settings.apps] == ["app-1", "trial"]
    assert settings.app("trial").api_token.get_secret_value() == "app-own"
