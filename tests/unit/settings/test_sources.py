"""What each place says, and what cannot be read there."""

from collections.abc import Callable
from pathlib import Path

import pytest

from flowledger.errors import SettingsError
from flowledger.settings import ConfigManager, Settings
from flowledger.settings.sources import open_sources

Load = Callable[..., Settings]
Problems = Callable[..., tuple[str, ...]]
Variables = dict[str, str]


def test_no_file_is_needed(tmp_path: Path, app: Variables) -> None:
    """The environment alone is enough."""
    assert ConfigManager(tmp_path, app).load().app().id == "app-1"


def test_an_empty_value_is_not_given(load: Load, app: Variables) -> None:
    """NAME= in a file or the environment falls through to the weaker places."""
    assert load({**app, "TIMEZONE": " "}, env_file="TIMEZONE=\n", yaml_file="timezone: UTC").timezone == "UTC"


def test_a_dollar_in_a_password_stays(load: Load, app: Variables) -> None:
    """Values of .env are taken as they stand, quotes apart."""
    env_file = "DIFY_CONSOLE_EMAIL=a@example.com\nexport DIFY_CONSOLE_PASSWORD='p$HOME${X} #1'  # mine\n"
    password = load(app, env_file=env_file).app().console_password
    assert password is not None
    assert password.get_secret_value() == "p$HOME${X} #1"


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path, app: Variables) -> None:
    """Windows editors may mark a file as UTF-8."""
    (tmp_path / ".env").write_text("TIMEZONE=UTC\n", "utf-8-sig")
    assert ConfigManager(tmp_path, app).load().timezone == "UTC"


@pytest.mark.parametrize(
    ("line", "guess"),
    [
        ("DIFY_API_KEY=x", "DIFY_API_TOKEN"),
        ("DIFY_BASEURL=x", "DIFY_BASE_URL"),
        ("dify_base_url=x", "DIFY_BASE_URL"),
        ("SMTP_PASS=x", "SMTP_PASSWORD"),
        ("TIME_ZONE=x", "TIMEZONE"),
        ("PREFECT_API_URI=x", "PREFECT_API_URL"),
    ],
)
def test_a_typing_mistake_is_a_problem_with_a_guess(
    problems: Problems, app: Variables, line: str, guess: str
) -> None:
    """A key of .env that resembles a known one is not silently ignored."""
    assert problems(app, env_file=line) == (
        f"{line.removesuffix('=x')} in .env: unknown variable, did you mean {guess}?",
    )


@pytest.mark.parametrize("name", ["PREFECT_API_KEY", "AWS_REGION", "PATH", "COMPOSE_PROJECT_NAME", "TZ"])
def test_keys_of_other_programs_are_ignored(load: Load, app: Variables, name: str) -> None:
    """A .env may serve other programs too."""
    assert load(app, env_file=f"{name}=x").app().id == "app-1"


def test_a_key_that_the_yaml_file_refers_to_is_known(load: Load) -> None:
    """A second app's token in .env may look like a mistyped variable."""
    listed = 'apps:\n - {id: b, base_url: "http://h", api_token: "${DIFY_API_TOKEN_2}"}\n'
    settings = load(env_file="DIFY_API_TOKEN_2=app-two\n", yaml_file=listed)
    assert settings.app("b").api_token.get_secret_value() == "app-two"


def test_a_reference_to_nothing_is_a_problem(problems: Problems, app: Variables) -> None:
    """${NAME} that no place sets is said, not taken as text."""
    assert problems(app, yaml_file="log_dir: ${NOWHERE}") == (
        "NOWHERE is not set: config/settings.yaml refers to it",
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [", "line 1 of config/settings.yaml: is not valid YAML"),
        ("- a", "config/settings.yaml: must be a mapping of names to values"),
        ("apps: {id: a}", "apps in config/settings.yaml: must be a list"),
        ("timezon: UTC", "timezon in config/settings.yaml: unknown setting, did you mean timezone?"),
        ("colour: red", "colour in config/settings.yaml: unknown setting"),
    ],
)
def test_a_wrong_yaml_file_is_a_problem(problems: Problems, app: Variables, text: str, line: str) -> None:
    """The file is ours, so everything in it has to be understood."""
    assert problems(app, yaml_file=text) == (line,)


def test_what_an_unreadable_yaml_file_may_hold_is_not_missed(problems: Problems) -> None:
    """Apps, options and channels may all be in it, so that they are not set is no news."""
    line = "line 1 of config/settings.yaml: is not valid YAML"
    assert problems(yaml_file="a: [") == (line,)
    split = {"STORAGE_TYPE": "s3", "NOTIFICATION_TYPE": "email", "DIFY_CONSOLE_EMAIL": "a@example.com"}
    assert problems({**split, "DIFY_API_TOKEN": "app-simulated"}, yaml_file="a: [") == (line,)
    found = problems({"TIMEZONE": "Mars"}, yaml_file="a: [")
    assert [each.partition(":")[0] for each in found] == [line.partition(":")[0], "TIMEZONE in environment"]


def test_an_empty_variable_that_is_referred_to_is_not_given(load: Load, problems: Problems) -> None:
    """${NAME} takes what .env says then, as settings do."""
    listed = 'apps:\n - {id: b, base_url: "http://h", api_token: "${TOKEN_B}"}\n'
    for empty in ("", "  "):
        (only,) = load({"TOKEN_B": empty}, env_file="TOKEN_B=app-two", yaml_file=listed).apps
        assert only.api_token.get_secret_value() == "app-two"
    assert "TOKEN_B is not set" in problems({"TOKEN_B": " "}, yaml_file=listed)[0]


def test_a_line_that_is_no_assignment_is_a_problem(problems: Problems, app: Variables) -> None:
    """NAME: value is not dropped with a warning."""
    assert problems(app, env_file="# fine\nTIMEZONE: UTC\n") == (
        "line 2 of .env: cannot be read, write NAME=value",
    )


def test_unreadable_files_are_problems(tmp_path: Path, app: Variables) -> None:
    """Another encoding, or a folder of that name, is said."""
    (tmp_path / ".env").write_bytes("TIMEZONE=北京".encode("gbk"))
    (tmp_path / "config/settings.yaml").mkdir(parents=True)
    with pytest.raises(SettingsError) as caught:
        ConfigManager(tmp_path, app).load()
    assert caught.value.problems == (
        ".env: is not UTF-8 text",
        "config/settings.yaml: cannot be read (Is a directory)",
    )


def test_the_environment_of_this_process_is_not_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, app: Variables
) -> None:
    """A manager with an environment of its own knows no other."""
    monkeypatch.setenv("TIMEZONE", "UTC")
    monkeypatch.setenv("APPS", "{")
    assert ConfigManager(tmp_path, app).load().timezone == "Asia/Shanghai"
    assert ConfigManager(tmp_path).load(need_app=False).timezone == "UTC"


def test_every_place_can_be_asked_by_itself(tmp_path: Path) -> None:
    """Each source gives what it says by variable, the strongest first."""
    (tmp_path / ".env").write_text("TIMEZONE=UTC\nPATH=x\n", "utf-8")
    sources = open_sources(tmp_path, {"LOG_LEVEL": "INFO", "HOME": "/"}, {"DIFY_APP_ID": "a"})
    assert [(source.place, source()) for source in sources] == [
        ("arguments", {"DIFY_APP_ID": "a"}),
        ("environment", {"LOG_LEVEL": "INFO"}),
        (".env", {"TIMEZONE": "UTC"}),
        ("config/settings.yaml", {}),
    ]


def test_a_yaml_file_writes_numbers_and_truth_values_plainly(load: Load) -> None:
    """Ports and switches need no quotes there, and are text in the environment."""
    settings = load(
        {"SMTP_PORT": "465"}, yaml_file="smtp_port: 587\nnotification_enabled: no", need_app=False
    )
    assert (settings.smtp_port, settings.notification_enabled) == (465, False)
