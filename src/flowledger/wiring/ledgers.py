"""The ledger, opened."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cache

from flowledger import plugins
from flowledger.ledger import open_ledger
from flowledger.ports import Decoder, Ledger
from flowledger.settings import Settings


def opened_ledger(settings: Settings) -> AbstractContextManager[Ledger]:
    """Open the ledger of the settings, its schema brought up to date."""
    return open_ledger_at(settings.ledger_url.get_secret_value())


@contextmanager
def open_ledger_at(url: str) -> Iterator[Ledger]:
    """Open a ledger by its URL and close it at the end."""
    ledger = open_ledger(url, decoders())
    try:
        yield ledger
    finally:
        ledger.close()


@cache
def decoders() -> Mapping[str, Decoder]:
    """Give the decoder of every source."""
    return {name: plugins.load("decoder", name) for name in plugins.DECODERS}
