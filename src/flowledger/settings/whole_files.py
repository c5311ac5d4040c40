"""Text files that are written whole or not at all."""

import os
from collections.abc import Mapping
from pathlib import Path

from flowledger.errors import SettingsError
from flowledger.io.atomic import OWNER_ONLY, AtomicFile

READABLE_BY_ALL = 0o644


def write_whole(file: Path, text: str) -> None:
    """Write a text file so that nobody ever reads half of it.

    :raises SettingsError: when it cannot be written; what was there stays.
    """
    replace_all({file: text.encode()})


def replace_all(contents: Mapping[Path, bytes]) -> None:
    """Replace files, all made ready before the first is put in its place; modes and links stay.

    :raises SettingsError: when one cannot be made ready; then none is replaced.
    """
    files: list[AtomicFile] = []
    try:
        for path, content in contents.items():
            target = path.resolve()
            files.append(AtomicFile(target, _mode_of(target)))
            files[-1].stream.write(content)
        for file in files:
            file.finish()
        for file in files:
            file.replace()
    except OSError as error:
        raise SettingsError(
            [f"{error.filename or 'a file'}: cannot be written ({error.strerror})"]
        ) from error
    finally:
        for file in files:
            file.discard()


def write_secret(file: Path, text: str) -> None:
    """Write a new file that only its owner can read.

    :raises SettingsError: when it is there already, or cannot be written.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise SettingsError([f"{file} is there already and is not overwritten: name another file"]) from None
    except OSError as error:
        raise SettingsError([f"{file} cannot be written ({error.strerror})"]) from error


def _mode_of(target: Path) -> int:
    return target.stat().st_mode & 0o777 if target.exists() else READABLE_BY_ALL
