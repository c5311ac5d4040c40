"""Where the record services keep what they are told, as the settings say."""

from collections.abc import Mapping
from typing import Any

from flowledger.bootstrap.configuration import load_settings
from flowledger.bootstrap.ledgers import decoders
from flowledger.domain.record_checks import MEBIBYTE, RecordLimits
from flowledger.domain.windows import zone
from flowledger.errors import SettingsError
from flowledger.ledger import open_ledger
from flowledger.ports import Ledger
from flowledger.settings.model import RecordOptions, record_options

SQL = ("sqlite", "postgresql")
STORAGE_TYPES = ("ledger", "file", "database", "db", *SQL, "memory")
FILE_NAME = "records.db"


def options_of_records(given: Mapping[str, Any] | None = None) -> RecordOptions:
    """Read the options of the record services: what is given, the rest as the settings say.

    :raises SettingsError: with a line for everything that is wrong.
    """
    return record_options(load_settings(need_app=False), given or {})


def open_record_ledger(storage_type: str, options: RecordOptions) -> Ledger:
    """Open the ledger of a storage type; whoever opens it closes it.

    ``ledger`` is that of LEDGER_URL, ``file`` one of files in ``log_dir``, ``database`` (``db``) that of
    LEDGER_URL where it is in a database and else records.db in ``log_dir``; so is ``sqlite``.

    :raises SettingsError: for an unknown type, and for ``postgresql`` where LEDGER_URL is none;
        LedgerError: when it cannot be used.
    """
    return open_ledger(_url_of(storage_type, options), decoders())


def limits_of_records(options: RecordOptions) -> RecordLimits:
    """Tell what a record may be."""
    return RecordLimits(int(options.max_record_mb * MEBIBYTE), zone(options.timezone))


def _url_of(storage_type: str, options: RecordOptions) -> str:
    url = options.ledger_url.get_secret_value()
    scheme = url.partition(":")[0].partition("+")[0]
    word = storage_type.lower()
    if word not in STORAGE_TYPES:
        raise SettingsError([f"unknown storage_type {storage_type!r:.80}: one of {', '.join(STORAGE_TYPES)}"])
    if word in ("file", "memory"):
        return f"file://{options.log_dir}" if word == "file" else "memory://"
    if word == "ledger" or (scheme in SQL and word in ("database", "db", scheme)):
        return url
    if word == "postgresql":
        raise SettingsError(
            [
                "storage_type postgresql: LEDGER_URL names no PostgreSQL database; write"
                " postgresql://user:password@host:5432/database there"
            ]
        )
    return f"sqlite:///{options.log_dir / FILE_NAME}"
