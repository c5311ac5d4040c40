"""Raw bodies as they are stored: compressed, exact, large ones checked by their SHA-256."""

from hashlib import sha256
from typing import cast

from isal import isal_zlib

from flowledger.errors import LedgerError

LEVEL = 1
"""The next one gains nothing, the one after takes five times as long for 3 %."""

DamagedError = cast("type[Exception]", isal_zlib.error)  # its stub calls the class an instance
"""What ``decompress`` raises for bytes that are no whole stream."""


def compress(body: bytes) -> bytes:
    """Compress a body."""
    return isal_zlib.compress(body, LEVEL)


def decompress(packed: bytes) -> bytes:
    """Return a body back exactly.

    :raises DamagedError: where these bytes are no whole stream, or its checksum is another.
    """
    return isal_zlib.decompress(packed)


LARGE = 256 * 1024
"""A body of more bytes is checked by its hash, and a run's own row of more is kept beside the run."""


def digest_of(body: bytes) -> bytes | None:
    """Return the SHA-256 of a large body, None for another."""
    return sha256(body).digest() if len(body) > LARGE else None


def unpack(packed: bytes | None, owner: str, digest: bytes | None = None) -> bytes:
    """Return a body back exactly; none is the empty one.

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
