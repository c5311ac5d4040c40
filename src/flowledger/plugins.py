"""Name → "module:Class" of every exchangeable part; adding one is one file and one line here."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from flowledger.errors import UsageError

REPORT_FORMATS: Mapping[str, str] = {
    "csv": "flowledger.reports.csv_files:CsvFormat",
    "markdown": "flowledger.reports.markdown:MarkdownFormat",
    "json": "flowledger.reports.json_file:JsonFormat",
    "data": "flowledger.reports.raw_data:RawDataFormat",
}
LEDGERS: Mapping[str, str] = {
    "sqlite": "flowledger.ledger.sql.ledger:SqlLedger",
    "memory": "flowledger.ledger.memory:MemoryLedger",
}
STORAGES: Mapping[str, str] = {
    "local": "flowledger.storage.local:LocalStorage",
}
DECODERS: Mapping[str, str] = {
    "dify": "flowledger.dify.parsing:decode",
}
REGISTRIES: Mapping[str, Mapping[str, str]] = {
    "report format": REPORT_FORMATS,
    "ledger": LEDGERS,
    "storage": STORAGES,
    "decoder": DECODERS,
}


def load(kind: str, name: str) -> Any:
    """Import the class or function registered under a name.

    :raises UsageError: with the known names, for an unknown one.
    """
    registry = REGISTRIES[kind]
    if name not in registry:
        raise UsageError(f"unknown {kind} {name!r}: one of {', '.join(sorted(registry))}")
    module, _, attribute = registry[name].partition(":")
    return getattr(import_module(module), attribute)
