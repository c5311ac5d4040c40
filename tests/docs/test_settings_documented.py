"""Settings, .env.example and the READMEs name the same variables."""

import re
from pathlib import Path

import pytest
from documents import ENV_EXAMPLE, README, README_ZH, ROOT, variables

from flowledger.errors import SettingsError
from flowledger.settings import AppSettings, ConfigManager, Settings
from flowledger.settings.model import APP_VARIABLES, PROGRAM_VARIABLES, VARIABLES
from flowledger.settings.schema import SCHEMAS, schema_text
from flowledger.settings.sources import YAML_FILE

ASSIGNMENT = re.compile(r"^#?([A-Z_0-9]+)=(.*)$", re.MULTILINE)
REFERRED_TO = {
    "SALES_API_TOKEN": "app-sales",
    "DIFY_OPS_PASSWORD": "simulated",
    "SALES_ROBOT": "https://robots.example.com/send",
    "SALES_ROBOT_SECRET": "simulated",
    "ON_CALL_PASSWORD": "simulated",
    "CRM_KEY": "simulated",
}
COMMENT = re.compile(r"^# .*[\u4e00-\u9fff]", re.MULTILINE)


def test_env_example_names_every_variable_once() -> None:
    """.env.example and the settings know the same variables."""
    names = [name for name, _ in ASSIGNMENT.findall(ENV_EXAMPLE.read_text("utf-8"))]
    assert sorted(names) == sorted(VARIABLES)


def test_env_example_explains_every_group_in_both_languages() -> None:
    """Every run of variables stands below a comment in English and Chinese."""
    groups = re.split(r"(?<=\n)(?=# )", ENV_EXAMPLE.read_text("utf-8"))
    assert [group for group in groups if ASSIGNMENT.search(group) and not COMMENT.match(group)] == []


def test_env_example_as_it_is_lacks_only_real_values(tmp_path: Path) -> None:
    """A fresh copy is complete but for the key, which is recognised as a placeholder."""
    (tmp_path / ".env").write_bytes(ENV_EXAMPLE.read_bytes())
    with pytest.raises(SettingsError) as caught:
        ConfigManager(tmp_path, {}).load()
    assert caught.value.problems == ("DIFY_API_TOKEN in .env: is still the placeholder of .env.example",)


def test_env_example_with_everything_uncommented_has_known_names_only(tmp_path: Path) -> None:
    """No commented line of .env.example is mistyped."""
    text = re.sub(r"^#(?=[A-Z_0-9]+=)", "", ENV_EXAMPLE.read_text("utf-8"), flags=re.MULTILINE)
    (tmp_path / ".env").write_text(text, "utf-8")
    with pytest.raises(SettingsError) as caught:
        ConfigManager(tmp_path, {}).load()
    assert [line for line in caught.value.problems if "unknown" in line or "cannot be read" in line] == []


@pytest.mark.parametrize("readme", [README, README_ZH], ids=lambda path: path.name)
def test_each_readme_names_every_variable_and_no_other(readme: Path) -> None:
    """The settings in a README are those of the program."""
    assert variables(readme) - {"INFO"} == VARIABLES


@pytest.mark.parametrize("readme", [README, README_ZH], ids=lambda path: path.name)
def test_each_readme_gives_the_defaults(readme: Path) -> None:
    """A default in the table is the one in the code."""
    rows = re.findall(r"^\| `([A-Z_0-9]+)` \| `([^`]+)` \|", readme.read_text("utf-8"), re.MULTILINE)
    fields = {name: Settings.model_fields[field] for name, field in PROGRAM_VARIABLES.items()}
    fields |= {name: AppSettings.model_fields[field] for name, field in APP_VARIABLES.items()}
    shown = {name: default.split(",") for name, default in rows}
    assert len(shown) >= 12
    for name, words in shown.items():
        default = fields[name].default
        assert words == [str(word) for word in (default if isinstance(default, tuple) else (default,))], name


def test_the_example_of_settings_yaml_is_valid_when_uncommented(tmp_path: Path) -> None:
    """What config/settings.yaml shows in its comments works."""
    lines = (ROOT / YAML_FILE).read_text("utf-8").splitlines()
    example = [line.removeprefix("# ") for line in lines if line.startswith("# ")][1:]
    (tmp_path / "config").mkdir()
    (tmp_path / YAML_FILE).write_text("\n".join(example), "utf-8")
    settings = ConfigManager(tmp_path, REFERRED_TO).load()
    assert settings.app().name == "sales-assistant"
    assert settings.report_formats == ("csv", "markdown")
    assert [each.name for each in settings.channels_of(settings.app())] == ["sales-group", "on-call"]


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_json_schemas_are_those_of_the_program(name: str) -> None:
    """What is checked in is what ``flowledger config schema --write`` writes."""
    assert (ROOT / f"config/{name}.schema.json").read_text("utf-8") == schema_text(name)
