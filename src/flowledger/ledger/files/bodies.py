"""Raw bodies in a journal's lines: exact, compressed, large ones in files of their own beside the journal."""

import binascii
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from flowledger.errors import LedgerError
from flowledger.ledger.compression import DamagedError, compress, decompress
from flowledger.ledger.files.disk import explaining, make_folder, write_whole

LARGE = 256 * 1024
"""A body of more bytes has a file of its own, named by its SHA-256 and checked by it."""
SHORT = 200
"""A text of fewer bytes is not worth compressing."""

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Bodies:
    """The folder of a journal's large bodies."""

    folder: Path

    def pack(self, body: bytes) -> Body:
        """Give a body as JSON; a large one is in its file when this returns."""
        if len(body) > LARGE:
            return self._keep(body)
        if len(body) < SHORT:
            with suppress(UnicodeDecodeError):  # the compressed form takes any bytes
                return {"text": body.decode()}
        return {"zlib": b64encode(compress(body)).decode()}

    def unpack(self, body: Body, owner: str) -> bytes:
        """Give a body back exactly.

        :raises LedgerError: naming the owner, when it is damaged.
        """
        try:
            if "text" in body:
                text: str = body["text"]
                return text.encode()
            if "zlib" in body:
                return decompress(b64decode(body["zlib"], validate=True))
        except (DamagedError, binascii.Error, ValueError) as error:
            raise _damaged(owner, str(error)) from error
        return self._read(body["sha256"], owner)

    def forget_all_but(self, kept: Iterable[str]) -> None:
        """Delete the files that nothing refers to any more."""
        if not self.folder.is_dir():
            return
        held = set(kept)
        with explaining(self.folder):
            for file in self.folder.iterdir():
                if file.name not in held:
                    file.unlink(missing_ok=True)

    def _keep(self, body: bytes) -> Body:
        digest = sha256(body).hexdigest()
        file = self.folder / digest
        packed = compress(body)
        with explaining(file):
            make_folder(self.folder)
            write_whole(file, [packed])
        return {"sha256": digest, "size": len(packed)}

    def _read(self, digest: str, owner: str) -> bytes:
        try:
            body = decompress((self.folder / digest).read_bytes())
        except (OSError, DamagedError) as error:
            raise _damaged(owner, str(error)) from error
        if sha256(body).hexdigest() != digest:
            raise _damaged(owner, "its SHA-256 is another")
        return body


def large_of(bodies: Iterable[Body]) -> tuple[tuple[str, int], ...]:
    """Give the names and sizes of the files that bodies refer to."""
    return tuple((body["sha256"], int(body["size"])) for body in bodies if "sha256" in body)


def _damaged(owner: str, why: str) -> LedgerError:
    return LedgerError(
        f"the ledger's copy of {owner} is damaged ({why}): restore the ledger from a backup,"
        " or move it aside and collect again"
    )
