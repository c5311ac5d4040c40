"""Text files that are written whole or not at all."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import mkstemp

from flowledger.errors import SettingsError


def write_whole(file: Path, text: str) -> None:
    """Write a text file so that nobody ever reads half of it.

    :raises SettingsError: when it cannot be written; what was there stays.
    """
    replace_all({file: text.encode()})


def replace_all(contents: Mapping[Path, bytes]) -> None:
    """Replace files, all made ready before the first is put in its place; modes and links stay.

    :raises SettingsError: when one cannot be made ready; then none is replaced.
    """
    ready: dict[Path, Path] = {}
    try:
        for file, content in contents.items():
            target = file.resolve()
            ready[_beside(target, content)] = target
        for made, target in ready.items():
            made.replace(target)
    except OSError as error:
        raise SettingsError(
            [f"{error.filename or 'a file'}: cannot be written ({error.strerror})"]
        ) from error
    finally:
        for made in ready:
            with suppress(FileNotFoundError):
                made.unlink()


def write_secret(file: Path, text: str) -> None:
    """Write a new file that only its owner can read.

    :raises SettingsError: when it is there already, or cannot be written.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise SettingsError([f"{file} is there already and is not overwritten: name another file"]) from None
    except OSError as error:
        raise SettingsError([f"{file} cannot be written ({error.strerror})"]) from error


def _beside(target: Path, content: bytes) -> Path:
    descriptor, name = mkstemp(prefix=f".{target.name}.", dir=target.parent)
    made = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        made.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o644)
    except OSError:
        made.unlink(missing_ok=True)
        raise
    return made
