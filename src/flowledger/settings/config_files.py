"""The files of settings: YAML read as plain values, and files written whole or not at all."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from flowledger.errors import SettingsError
from flowledger.io.atomic import OWNER_ONLY, AtomicFile
from flowledger.io.yaml_text import MOST_VALUES, ShallowLoader, loading, size_of


def read_yaml(text: str, place: str) -> Any:
    """Read the one document of a file; None for an empty one.

    :raises SettingsError: with a line for what is wrong; it quotes nothing, since the file may hold secrets.
    """
    try:
        with loading(ShallowLoader, text) as loader:
            node = loader.get_single_node()
            if node is None:
                return None
            # Before anything is made of it: merged mappings alone could grow without end there.
            if size_of(node, {}) > MOST_VALUES:
                raise SettingsError([f"{place}: has more than {MOST_VALUES:,} values, aliases written out"])
            return loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1} of " if mark else ""
        raise SettingsError([f"{line}{place}: is not valid YAML"]) from None
    except ValueError:  # a date that no calendar has, such as 2026-02-30
        raise SettingsError(
            [f"{place}: has a date or a number that is none: put it between quotes"]
        ) from None
    except RecursionError:
        raise SettingsError([f"{place}: an alias stands within itself"]) from None


READABLE_BY_ALL = 0o644


def write_whole(file: Path, text: str) -> None:
    """Write a text file atomically.

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
