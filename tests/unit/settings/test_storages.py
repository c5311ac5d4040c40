"""Options of the chosen storage."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from flowledger.settings import Settings

Load = Callable[..., Settings]
Problems = Callable[..., tuple[str, ...]]
Variables = dict[str, str]


def test_local_reports_lie_in_the_output_folder(load: Load, tmp_path: Path) -> None:
    """The local storage has a root and nothing else."""
    assert load(need_app=False).storage_options == {"root": tmp_path / "outputs"}


def test_a_bucket_takes_the_variables_of_its_own_name(load: Load) -> None:
    """What is not set is left to the class."""
    settings = load(
        {"STORAGE_TYPE": "s3", "S3_BUCKET_NAME": "reports", "S3_ACCESS_KEY_ID": "k", "OSS_ENDPOINT": "x"},
        yaml_file="storage_prefix: /dify/reports/",
        need_app=False,
    )
    assert settings.storage_options == {
        "addressing_style": "auto",
        "bucket_name": "reports",
        "access_key_id": SecretStr("k"),
        "prefix": "dify/reports",
    }


def test_what_the_chosen_storage_needs_is_a_problem(problems: Problems, app: Variables) -> None:
    """Each missing option is named by its variable, and why it is needed; a wrong one has its own line."""
    assert problems({**app, "STORAGE_TYPE": "oss", "OSS_BUCKET_NAME": "b", "OSS_ACCESS_KEY_ID": "xxx"}) == (
        "OSS_ACCESS_KEY_ID in environment: is still the placeholder of .env.example",
        "OSS_ENDPOINT is not set: the storage 'oss' needs it",
        "OSS_ACCESS_KEY_SECRET is not set: the storage 'oss' needs it",
    )


def test_a_bucket_that_is_not_chosen_may_be_half_set(load: Load) -> None:
    """Only the chosen storage has to be whole."""
    assert load({"OSS_ENDPOINT": "x", "S3_REGION": "r"}, need_app=False).storage_type == "local"


@pytest.mark.parametrize("prefix", ["../up", "a b", "c:\\d", "a//../b"])
def test_a_prefix_is_made_of_plain_names(problems: Problems, app: Variables, prefix: str) -> None:
    """Nothing leads out of the prefix."""
    assert problems({**app, "STORAGE_PREFIX": prefix}) == (
        "STORAGE_PREFIX in environment: must be names separated by /, such as dify/reports",
    )


def test_an_app_has_a_prefix_retention_and_tags_of_its_own(load: Load) -> None:
    """What an app does not say is taken from the program's settings."""
    listed = """
storage_prefix: common
report_retention_days: 30
apps:
  - {id: a, base_url: "http://h", api_token: t-1, storage_prefix: mine, report_retention_days: 7,
     tags: x, work_queue: q}
  - {id: b, base_url: "http://h", api_token: t-1, schedules: {daily_report: "0 5 * * *"}}
"""
    settings = load(yaml_file=listed)
    first, second = settings.apps
    assert (first.storage_prefix, first.report_retention_days, first.tags) == ("mine", 7, ("x",))
    assert (first.work_queue, first.schedules, first.channels) == ("q", None, None)
    assert (second.storage_prefix, second.report_retention_days) == ("common", 30)
    assert second.schedules == {"daily_report": "0 5 * * *"}
