"""Settings whose secrets are kept in blocks of a real Prefect server."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect import flow
from prefect.blocks.system import Secret
from prefect_server import PrefectServer, prefect_in_use

from flowledger.errors import SettingsError
from flowledger.settings import ConfigManager

APP = {"DIFY_BASE_URL": "https://dify.example.com", "DIFY_APP_ID": "app-1"}


@pytest.fixture(scope="module", autouse=True)
def prefect(shared_prefect: PrefectServer) -> Iterator[PrefectServer]:
    """A Prefect server with two blocks."""
    with prefect_in_use(shared_prefect) as running:
        Secret(value="0123456789").save("dify-token", _sync=True)  # type: ignore[call-arg]
        Secret(value={"a": 1}).save("mapping", _sync=True)  # type: ignore[call-arg]
        yield running


def token_of(root: Path, prefect: PrefectServer, reference: str) -> str:
    """Load settings whose token is a reference, and give the token."""
    environ = {**APP, "DIFY_API_TOKEN": reference, "PREFECT_API_URL": prefect.api}
    return ConfigManager(root, environ).load().app().api_token.get_secret_value()


def test_a_block_is_read_as_text_in_a_flow_and_outside(tmp_path: Path, prefect: PrefectServer) -> None:
    """A secret of digits stays text."""

    @flow
    def reading() -> bool:
        return token_of(tmp_path, prefect, "prefect:dify-token") == "0123456789"

    assert reading()
    assert token_of(tmp_path, prefect, "prefect:dify-token") == "0123456789"


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("prefect:nothing", "has no Secret block 'nothing': create it (Prefect UI → Blocks → Secret)"),
        ("prefect:mapping", "the Prefect block 'mapping' holds no text"),
    ],
)
def test_a_block_that_gives_no_text_is_a_problem(
    tmp_path: Path, prefect: PrefectServer, reference: str, words: str
) -> None:
    """The line names the variable and what to do."""
    with pytest.raises(SettingsError) as caught:
        token_of(tmp_path, prefect, reference)
    (line,) = caught.value.problems
    assert line.startswith("DIFY_API_TOKEN in environment: the Prefect")
    assert words in line
