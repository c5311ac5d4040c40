"""Raw bodies on their way out of the database: exact, large ones checked by their SHA-256."""

from hashlib import sha256

from flowledger.errors import LedgerError
from flowledger.ledger.compression import DamagedError, decompress

LARGE = 256 * 1024
"""A body of more bytes is checked by its hash, and a run's own row of more is kept beside the run."""


def digest_of(body: bytes) -> bytes | None:
    """Give the SHA-256 of a large body, None for another."""
    return sha256(body).digest() if len(body) > LARGE else None


def unpack(packed: bytes | None, owner: str, digest: bytes | None = None) -> bytes:
    """Give a body back exactly; none is the empty one.

    :raises LedgerError: naming the owner, when the stored bytes are damaged.
    """
    if packed is None:
        return b""
    try:
        body = decompress(packed)
    except DamagedError as error:
        raise _damaged(owner, str(error)) from error
    if digest is not None and sha256(body).digest() != digest:
        raise _damaged(owner, "its SHA-256 is another")
    return body


def _damaged(owner: str, why: str) -> LedgerError:
    return LedgerError(
        f"the ledger's copy of {owner} is damaged ({why}): restore the ledger from a backup,"
        " or move it aside and collect again"
    )
