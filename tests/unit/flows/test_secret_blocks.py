"""Secrets in Prefect's blocks: what is said where there is no server to ask."""

import socket

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flowledger.errors import UnreadableSecretError
from flowledger.flows.secret_blocks import read_block
from flowledger.settings.references import Keyring


def test_without_a_server_it_says_so_and_starts_none() -> None:
    """A temporary server would hold no blocks."""
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(
            UnreadableSecretError, match="the block 'x' needs a Prefect server: set PREFECT_API_URL"
        ),
    ):
        read_block("x", Keyring())


def test_a_server_that_is_away_is_named() -> None:
    """The address and what to do are in the message."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/api"
        with pytest.raises(
            UnreadableSecretError, match=rf"server at {url} cannot be asked for the block 'x'"
        ):
            read_block("x", Keyring(prefect_api_url=url))
