"""Bodies as zlib streams (RFC 1950), written and read by ISA-L; any zlib reads them, too.

Measured on 24 KB of node executions: a tenth of the size in 23 µs, where zlib's level 3 takes 118 µs, and
back in half of zlib's time.
"""

from typing import cast

from isal import isal_zlib

LEVEL = 1
"""The next one gains nothing, the one after takes five times as long for 3 %."""

DamagedError = cast("type[Exception]", isal_zlib.error)  # its stub calls the class an instance
"""What ``decompress`` raises for bytes that are no whole stream."""


def compress(body: bytes) -> bytes:
    """Compress a body."""
    return isal_zlib.compress(body, LEVEL)


def decompress(packed: bytes) -> bytes:
    """Give a body back exactly.

    :raises DamagedError: where these bytes are no whole stream, or its checksum is another.
    """
    return isal_zlib.decompress(packed)
