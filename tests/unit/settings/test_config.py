"""ConfigManager: which place wins, and what a problem says."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from flowledger import bootstrap
from flowledger.bootstrap import config_checks
from flowledger.domain.runs import AppKey
from flowledger.errors import UsageError
from flowledger.plugins import REPORT_FORMATS
from flowledger.services.secret_masking import redacted
from flowledger.settings import AppSettings, ConfigManager, Settings
from flowledger.settings.model import APP_VARIABLES, VARIABLES

Load = Callable[..., Settings]
Problems = Callable[..., tuple[str, ...]]
Variables = dict[str, str]

TWO_APPS = """
timezone: Europe/Berlin
report_formats: [csv, json]
dify_max_concurrency: 8
apps:
  - id: a-1
    name: sales
    base_url: https://one.example.com/dify/v1/
    api_token: ${SALES_TOKEN}
    timezone: UTC
  - {id: a-2, base_url: "http://two.example.com", api_token: app-two, formats: "markdown"}
"""


def test_arguments_beat_environment_beats_env_file_beats_yaml_beats_default(
    load: Load, app: Variables
) -> None:
    """Of two places that name a variable, the stronger one counts."""
    places = {
        "environ": {**app, "REPORT_LANGUAGE": "en", "LOG_LEVEL": "ERROR"},
        "env_file": "LOG_LEVEL=TRACE\nLOG_RETENTION_DAYS=5",
        "yaml_file": "log_level: DEBUG\nlog_retention_days: 6\nstuck_after_hours: 7",
        "arguments": {"REPORT_LANGUAGE": "zh", "LOG_LEVEL": None},
    }
    settings = load(**places)
    assert (settings.report_language, settings.log_level) == ("zh", "ERROR")
    assert (settings.log_retention_days, settings.stuck_after_hours) == (5, 7)
    assert settings.timezone == "Asia/Shanghai"


def test_the_variables_define_one_app(load: Load, app: Variables) -> None:
    """DIFY_* make one app, called "default" where it has no name."""
    settings = load(app)
    assert settings.app().key == AppKey("dify", "app-1")
    assert settings.app("default") is settings.app("app-1") is settings.app(None)
    assert settings.app().api_token.get_secret_value() == "app-simulated"


def test_the_yaml_file_lists_more_apps(load: Load, app: Variables) -> None:
    """Listed apps stand beside that of the variables, with the program's settings as defaults."""
    settings = load(app | {"SALES_TOKEN": "app-sales"}, yaml_file=TWO_APPS)
    assert [each.name for each in settings.apps] == ["default", "sales", "a-2"]
    sales, second = settings.app("sales"), settings.app("a-2")
    assert (sales.base_url, sales.timezone) == ("https://one.example.com/dify", "UTC")
    assert sales.api_token.get_secret_value() == "app-sales"
    assert (sales.formats, second.formats) == (("csv", "json"), ("markdown",))
    assert (str(second.tz), second.max_concurrency) == ("Europe/Berlin", 8)


def test_an_app_inherits_no_credentials(load: Load) -> None:
    """The console password of the variables' app is never offered to another server."""
    console = {"DIFY_CONSOLE_EMAIL": "ops@example.com", "DIFY_CONSOLE_PASSWORD": "simulated-password"}
    app = {"DIFY_BASE_URL": "https://dify.example.com", "DIFY_API_TOKEN": "app-x", "DIFY_APP_ID": "b"}
    settings = load(app | console | {"SALES_TOKEN": "app-sales"}, yaml_file=TWO_APPS)
    assert settings.app("default").console_password is not None
    assert settings.app("sales").console_password is None


def test_an_unclear_app_is_refused_with_the_known_ones(load: Load, app: Variables) -> None:
    """A wrong name, or none where there are several, lists names and ids."""
    settings = load({"SALES_TOKEN": "app-sales"}, yaml_file=TWO_APPS)
    with pytest.raises(UsageError, match=r"unknown app 'x': one of sales \(a-1\), a-2 \(a-2\)"):
        settings.app("x")
    with pytest.raises(UsageError, match="several apps are configured, say which one"):
        settings.app()
    with pytest.raises(UsageError, match="no app is configured: set DIFY_BASE_URL"):
        load(need_app=False).app()


@pytest.mark.fault(35)
def test_all_problems_come_at_once_with_their_places(problems: Problems) -> None:
    """Every line names the variable and the file, whatever else is wrong."""
    found = problems(
        {"TIMEZONE": "Mars/Base"},
        env_file="DIFY_BASE_URL=dify.example.com\nDIFY_CONSOLE_EMAIL=a@example.com\nSTUCK_AFTER_HOURS=0\n",
        yaml_file="log_level: loud",
        arguments={"REPORT_FORMATS": "csv,xls"},
    )
    assert sorted(found) == [
        "DIFY_API_TOKEN is not set: API key of the app, Dify → app → API access",
        "DIFY_APP_ID is not set: id of the app, the part after /app/ in its address in Dify",
        "DIFY_BASE_URL in .env: must begin with http:// or https://",
        "DIFY_CONSOLE_PASSWORD is not set: the console needs e-mail and password",
        "LOG_LEVEL in config/settings.yaml: unknown log level 'LOUD': one of TRACE, DEBUG, INFO, SUCCESS,"
        " WARNING, ERROR, CRITICAL",
        f"REPORT_FORMATS in arguments: unknown report format 'xls': one of {', '.join(REPORT_FORMATS)}",
        "STUCK_AFTER_HOURS in .env: should be greater than or equal to 1",
        "TIMEZONE in environment: unknown time zone 'Mars/Base': use an IANA name such as Asia/Shanghai,"
        " America/New_York or UTC",
    ]


def test_a_listed_app_is_named_by_its_place(problems: Problems) -> None:
    """A problem of a listed app names its number and field."""
    listed = 'apps:\n - {id: a, base_url: "http://h", api_tokn: x}\n - 3\n'
    assert problems(yaml_file=listed) == (
        "apps[0].api_token in config/settings.yaml is not set: API key of the app, Dify → app → API access",
        "apps[0].api_tokn in config/settings.yaml: unknown setting, did you mean api_token?",
        "apps[1] in config/settings.yaml: must be a mapping with id, base_url, api_token",
    )


def test_two_apps_of_one_name_are_a_problem(problems: Problems, app: Variables) -> None:
    """Ids and names are how people choose, so no two apps share one."""
    listed = 'apps:\n - {id: app-1, name: other, base_url: "http://h", api_token: t-1}\n'
    assert problems(app, yaml_file=listed) == (
        "DIFY_APP_ID in environment, apps[0].id in config/settings.yaml: 'app-1' is used for each, but ids"
        " and names of apps must differ",
    )
    crossed = """
apps:
  - {id: a, name: sales, base_url: "http://h", api_token: t-1}
  - {id: sales, base_url: "http://h", api_token: t-1}
"""
    (line,) = problems(yaml_file=crossed)
    assert line.startswith(
        "apps[0].name in config/settings.yaml, apps[1].id in config/settings.yaml: 'sales' is used for each"
    )


def test_stray_variables_beside_listed_apps_say_what_they_define(problems: Problems) -> None:
    """DIFY_CONSOLE_EMAIL left in .env is not three puzzling lines about an app that nobody meant."""
    listed = 'apps:\n - {id: a, base_url: "http://h", api_token: t-1}\n'
    assert problems(env_file="DIFY_CONSOLE_EMAIL=a@example.com", yaml_file=listed) == (
        "DIFY_CONSOLE_EMAIL in .env: DIFY_* variables define a first app of their own, beside those that"
        " config/settings.yaml lists, and this one has no DIFY_BASE_URL, DIFY_API_TOKEN, DIFY_APP_ID: set"
        " them, or remove DIFY_CONSOLE_EMAIL; for a listed app, write console_email:"
        " ${DIFY_CONSOLE_EMAIL} there",
    )


def test_a_stray_token_beside_listed_apps_is_to_be_removed_or_completed(problems: Problems) -> None:
    """So is an app of which a part is set; what is wrong with that part has its own line."""
    listed = 'apps:\n - {id: a, base_url: "http://h", api_token: t-1}\n'
    assert problems(env_file="DIFY_API_TOKEN=app-old", yaml_file=listed) == (
        "DIFY_API_TOKEN in .env: DIFY_* variables define a first app of their own, beside those that"
        " config/settings.yaml lists, and this one has no DIFY_BASE_URL, DIFY_APP_ID: set them, or remove"
        " DIFY_API_TOKEN; for a listed app, write api_token: ${DIFY_API_TOKEN} there",
    )
    found = problems(env_file="DIFY_BASE_URL=nowhere\nDIFY_APP_ID=b\n", yaml_file=listed)
    assert [line.partition(":")[0] for line in found] == [
        "DIFY_BASE_URL in .env, DIFY_APP_ID in .env",
        "DIFY_BASE_URL in .env",
    ]


@pytest.mark.parametrize("cron", ["30 25 * * *", "30 2 * *"])
def test_a_bad_cron_of_an_app_is_a_problem(problems: Problems, cron: str) -> None:
    """Its own crons are checked as those of config/deployments.yaml are."""
    listed = (
        f'apps:\n - {{id: a, base_url: "http://h", api_token: t, schedules: {{daily_report: "{cron}"}}}}\n'
    )
    (line,) = problems(yaml_file=listed)
    assert line.startswith(f"apps[0].schedules.daily_report in config/settings.yaml: {cron!r} is no cron: ")


def test_a_missing_token_makes_no_usual_word_a_secret(tmp_path: Path, app: Variables) -> None:
    """What stands in for it is hidden from nobody's messages: "unknown" is in many."""
    del app["DIFY_API_TOKEN"]
    with bootstrap.configured(ConfigManager(tmp_path, app)):
        _, found = config_checks.settings_problems()
    assert [line.partition(" ")[0] for line in found] == ["DIFY_API_TOKEN"]
    assert redacted("unknown app 'x': not set") == "unknown app 'x': not set"


def test_variables_that_listed_apps_refer_to_define_no_app(load: Load) -> None:
    """What a person was told to write works: the variables then belong to the listed app."""
    env_file = "DIFY_CONSOLE_EMAIL=a@example.com\nDIFY_CONSOLE_PASSWORD=simulated\n"
    listed = """
apps:
  - id: a
    base_url: http://h
    api_token: t-1
    console_email: ${DIFY_CONSOLE_EMAIL}
    console_password: ${DIFY_CONSOLE_PASSWORD}
"""
    (only,) = load(env_file=env_file, yaml_file=listed).apps
    assert (only.id, only.console_email) == ("a", "a@example.com")


def test_what_is_right_can_be_had_beside_the_problems(tmp_path: Path, app: Variables) -> None:
    """More can be checked although some values are wrong; an app keeps its right fields."""
    (tmp_path / "config").mkdir()
    listed = "apps:\n - {id: b, name: sales, base_url: nowhere, schedules: [x], colour: red}\n - 3\n"
    (tmp_path / "config/settings.yaml").write_text(listed + "channels: {a: {type: x}}\n", "utf-8")
    wrong = {"TIMEZONE": "Mars", "STUCK_AFTER_HOURS": "3", "SMTP_HOST": "h", "NOTIFICATION_TYPE": "wechat"}
    found = ConfigManager(tmp_path, {**app, **wrong}).examine()
    assert len(found.problems) >= 6
    assert (found.settings.timezone, found.settings.stuck_after_hours) == ("Asia/Shanghai", 3)
    assert [each.name for each in found.settings.apps] == ["default", "sales", "default"]
    assert found.settings.app("sales").schedules == ("x",)


@pytest.mark.parametrize(
    ("console", "line"),
    [
        (
            {"DIFY_CONSOLE_PASSWORD": "simulated-password"},
            "DIFY_CONSOLE_EMAIL is not set: the console needs e-mail and password",
        ),
        (
            {"DIFY_ADMIN_API_KEY": "simulated-admin-key"},
            "DIFY_WORKSPACE_ID is not set: the admin API key needs the id of the workspace",
        ),
        (
            {
                "DIFY_ADMIN_API_KEY": "k",
                "DIFY_WORKSPACE_ID": "w",
                "DIFY_CONSOLE_TOKEN": "t",
            },
            "DIFY_ADMIN_API_KEY in environment: the console needs one way in;"
            " keep this or DIFY_CONSOLE_TOKEN in environment",
        ),
    ],
)
def test_half_or_two_ways_into_the_console_are_a_problem(
    problems: Problems, app: Variables, console: Variables, line: str
) -> None:
    """The console is entered in exactly one whole way, or not at all."""
    assert problems(app | console) == (line,)


def test_nothing_secret_is_shown(load: Load, problems: Problems, app: Variables) -> None:
    """Neither the settings, the manager nor a problem shows a secret."""
    secret = {
        "DIFY_CONSOLE_EMAIL": "a@example.com",
        "DIFY_CONSOLE_PASSWORD": "hush hush",
        "DIFY_API_TOKEN": "hush",
    }
    settings = load(app | secret)
    assert "hush" not in repr(settings) + str(settings) + repr(ConfigManager(Path(), secret))
    wrong = app | secret | {"DIFY_API_TOKEN": "hush hush", "LEDGER_URL": "hush"}
    yaml_file = "apps:\n - {id: a, api_token: [hush], base_url: hush}\nhush: {"
    assert "hush" not in "\n".join(problems(wrong, yaml_file=yaml_file, env_file="hush hush\n"))


def test_settings_are_frozen(load: Load, app: Variables) -> None:
    """Nobody changes settings after loading."""
    with pytest.raises(ValidationError, match="frozen"):
        load(app).timezone = "UTC"  # type: ignore[misc]


def test_without_need_of_an_app_none_is_asked_for(load: Load) -> None:
    """The demonstration needs no Dify."""
    assert load(need_app=False).apps == ()


def test_folders_begin_at_the_root(load: Load, tmp_path: Path) -> None:
    """Relative folders and the ledger's file lie under the root, the ledger and logs beside the reports."""
    plain = load({"OUTPUT_BASE_DIR": "./here"}, need_app=False)
    assert plain.output_base_dir == tmp_path / "here"
    assert plain.ledger_url.get_secret_value() == f"sqlite:///{tmp_path}/here/ledger.db"
    assert plain.log_dir == tmp_path / "here/logs"
    named = load({"LEDGER_URL": "sqlite:///x/l.db", "LOG_DIR": "/var/log/x"}, need_app=False)
    assert named.ledger_url.get_secret_value() == f"sqlite:///{tmp_path}/x/l.db"
    assert named.log_dir == Path("/var/log/x")


def test_a_wrong_folder_is_one_problem(problems: Problems, app: Variables) -> None:
    """What is derived from a wrong value is not complained of as well."""
    assert problems(app, yaml_file="output_base_dir: [1]") == (
        "OUTPUT_BASE_DIR in config/settings.yaml: is not a valid path",
    )


def test_an_unknown_argument_is_a_problem(problems: Problems, app: Variables) -> None:
    """A caller's wrong word is not dropped."""
    assert problems(app, arguments={"TIMEZON": "UTC"}) == ("TIMEZON in arguments: unknown variable",)


def test_every_variable_of_an_app_is_read_and_is_a_field_of_it() -> None:
    """The variables that define an app are among those that the places are asked for."""
    assert APP_VARIABLES.keys() <= VARIABLES
    assert set(APP_VARIABLES.values()) <= AppSettings.model_fields.keys()
