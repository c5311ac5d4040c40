"""Encrypt again, with the newest key, every secret that stands encrypted in the files of settings."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from flowledger.errors import SettingsError, UnreadableSecretError
from flowledger.settings.encryption import renew
from flowledger.settings.whole_files import replace_all

TOKEN = re.compile(rb"enc:[ \t]*([A-Za-z0-9_=-]+)")
COMMENT = re.compile(rb"(^|\s)#")
ENV_FILES = (".env", ".env.dev", ".env.staging", ".env.prod")


@dataclass(frozen=True, slots=True)
class Rotated:
    """One file and how many secrets in it were encrypted again."""

    file: Path
    secrets: int


def rotate(root: Path, keys: Sequence[SecretStr]) -> Sequence[Rotated]:
    """Encrypt every ``enc:`` of config/*.yaml and .env files again; the rest of the files stays as it is.

    :raises SettingsError: with a line for each that no key opens; then no file is changed.
    """
    contents: dict[Path, bytes] = {}
    rotated: list[Rotated] = []
    wrong: list[str] = []
    for file in _files(root):
        content, count, lines = _renewed(file, root, keys)
        wrong += lines
        if count:
            contents[file] = content
            rotated.append(Rotated(file, count))
    if wrong:
        raise SettingsError([*wrong, "nothing was changed"])
    replace_all(contents)
    return rotated


def _files(root: Path) -> Iterator[Path]:
    yield from sorted((root / "config").glob("*.yaml"))
    yield from (root / name for name in ENV_FILES if (root / name).is_file())


def _renewed(file: Path, root: Path, keys: Sequence[SecretStr]) -> tuple[bytes, int, list[str]]:
    """Give a file's new content, how many secrets are new in it, and a line for each that cannot be."""
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        return b"", 0, [f"{file.relative_to(root)}: cannot be read ({error.strerror})"]
    wrong: list[str] = []
    count = 0

    def again(found: re.Match[bytes]) -> bytes:
        nonlocal count
        try:
            renewed = renew(found[1].decode(), keys).encode()
        except UnreadableSecretError as error:
            if not COMMENT.search(found.string[: found.start()]):
                wrong.append(f"line {number} of {file.relative_to(root)}: {error}")
            return found[0]
        count += 1
        return renewed

    for number, line in enumerate(lines, 1):
        lines[number - 1] = TOKEN.sub(again, line)
    return b"\n".join(lines), count, wrong
