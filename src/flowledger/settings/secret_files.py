"""``file:/run/secrets/x``: a secret in a file of its own."""

from pathlib import Path
from stat import S_IRGRP, S_IROTH

from flowledger.errors import UnreadableSecretError
from flowledger.settings.references import Keyring

MOST_BYTES = 64 * 1024
MOUNTED = Path("/run")
"""Containers and systemd mount secrets below it, readable by all inside, and nowhere else to be seen."""


def read_file(path: str, keyring: Keyring) -> str:
    """Read a file's text without the line break at its end; a relative path begins at the root.

    :raises UnreadableSecretError: when there is no such file, or none that can be read as short text.
    """
    file = found_at(path, keyring.root)
    try:
        with file.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise UnreadableSecretError(f"there is no file {file}: create it or mend the path") from None
    except OSError as error:
        raise UnreadableSecretError(
            f"{file} cannot be read ({error.strerror}): let this user read it, or mend the path"
        ) from None
    if len(content) > MOST_BYTES:
        raise UnreadableSecretError(f"{file} is too long to be a secret: mend the path")
    return _text(file, content)


def found_at(path: str, root: Path) -> Path:
    """Give the absolute path of a file, relative ones from the root."""
    try:
        return (root / Path(path).expanduser()).absolute()
    except RuntimeError:
        raise UnreadableSecretError(f"{path}: this user has no home folder, write the whole path") from None


def open_to_others(file: Path) -> bool:
    """Tell whether other users of this machine may read a file of a secret."""
    try:
        mode = file.stat().st_mode
    except OSError:
        return False
    return bool(mode & (S_IRGRP | S_IROTH)) and MOUNTED not in file.parents


def _text(file: Path, content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableSecretError(f"{file} is not UTF-8 text") from None
    return text.removesuffix("\n").removesuffix("\r")
