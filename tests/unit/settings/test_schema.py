"""The JSON Schema of the YAML files accepts what the reader accepts."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from flowledger import plugins
from flowledger.settings.schema import SCHEMAS, settings_schema, write_schemas

WHOLE = """
timezone: ${ZONE}
report_formats: csv,json
log_retention_days: 30
smtp_port:
storage_type: s3
apps:
  - {id: a, base_url: "http://h", api_token: "${T}", channels: [ops], schedules: {daily_report: "0 5 * * *"}}
  - {id: b, base_url: "http://h", api_token: t, schedules: daily_report, tags: [x]}
channels:
  ops: {type: dingtalk, webhook: "${HOOK}", at: [13800000000, all]}
  mail: {type: email, host: h, to: a@example.com, port: 25}
"""


@pytest.fixture(scope="module")
def validator() -> jsonschema.protocols.Validator:
    """A validator of settings.yaml."""
    schema = settings_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_what_may_be_written_is_valid(validator: jsonschema.protocols.Validator) -> None:
    """References, empty values and words between commas are marked as mistakes by no editor."""
    assert [error.message for error in validator.iter_errors(yaml.safe_load(WHOLE))] == []


@pytest.mark.parametrize(
    "wrong",
    [
        "timezon: UTC",
        "log_retention_days: many",
        "apps: [{id: a}]",
        'apps: [{id: a, base_url: "http://h", api_token: t, colour: red}]',
        "channels: {ops: {type: dingtalk}}",
        "channels: {ops: {type: email, host: h, to: a, webhook: x}}",
        "flowledger_secret_key: x",
    ],
)
def test_mistakes_are_marked(validator: jsonschema.protocols.Validator, wrong: str) -> None:
    """Unknown names, wrong kinds, missing options and a key in the file are mistakes."""
    assert not validator.is_valid(yaml.safe_load(wrong))


def test_every_type_of_channel_is_described() -> None:
    """A channel that is added is in the schema."""
    described = settings_schema()["properties"]["channels"]["additionalProperties"]["oneOf"]
    assert [each["title"] for each in described] == list(plugins.CHANNELS)


def test_all_schemas_are_written_at_once(tmp_path: Path) -> None:
    """The folder is made where there is none."""
    names = [file.name for file in write_schemas(tmp_path)]
    assert names == [f"{name}.schema.json" for name in SCHEMAS]
    assert sorted(file.name for file in (tmp_path / "config").iterdir()) == sorted(names)
