"""The durable record of runs: one port (``ports.Ledger``), found by the scheme of a URL."""

from collections.abc import Mapping

from flowledger import plugins
from flowledger.errors import UsageError
from flowledger.ports import Decoder, Ledger
from flowledger.workflow_ports import WorkflowStore


def open_ledger(url: str, decoders: Mapping[str, Decoder]) -> Ledger:
    """Open the ledger a URL names, making it or bringing its schema up to date where needed.

    ``sqlite:///path/to/ledger.db`` keeps a file (made with its directory, mode 0600),
    ``postgresql://user:password@host:port/database`` a database that is there, ``file:///path/to/folder``
    JSON files (made with their folder, for their owner alone), ``memory://`` nothing.
    ``decoders`` rebuild details, by the source of the run.

    :raises UsageError: for a URL that names no ledger; LedgerError: when it cannot be used;
        LedgerVersionError: when its schema is newer than this program.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise UsageError(
            "the ledger's URL has no scheme: write sqlite:///path/to/ledger.db,"
            " postgresql://user:password@host:port/database, file:///path/to/folder or memory://"
        )
    ledger: Ledger = plugins.load("ledger", scheme.partition("+")[0]).open(url, decoders)
    return ledger


def workflow_store(ledger: Ledger) -> WorkflowStore:
    """Return where workflows are stored: in the database of a ledger that ``open_ledger`` has opened."""
    # SQLAlchemy takes a quarter of a second to import, which is paid already by whoever has such a ledger.
    from flowledger.ledger.sql.ledger import SqlLedger
    from flowledger.ledger.sql.workflow_store import SqlWorkflowStore

    if not isinstance(ledger, SqlLedger):
        raise TypeError(f"{type(ledger).__name__} is no ledger in a database")
    return SqlWorkflowStore(ledger)
