"""``enc:…``: a secret encrypted in a file, by Fernet; several keys may be in use, the newest first."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from flowledger.errors import SettingsError, UnreadableSecretError
from flowledger.settings.config_files import replace_all
from flowledger.settings.references import Keyring

PREFIX = "enc:"
WHERE_KEYS_ARE = "FLOWLEDGER_SECRET_KEY or FLOWLEDGER_SECRET_KEY_FILE"


def new_key() -> str:
    """Return a new key."""
    return Fernet.generate_key().decode()


def split_keys(text: str) -> tuple[SecretStr, ...]:
    """Return the keys of a text, newest first: one a line, or between commas; a line after # is a comment."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return tuple(SecretStr(word) for word in re.split(r"[,;，；、\s]+", "\n".join(lines)) if word)


def encrypt(text: str, keys: Sequence[SecretStr]) -> str:
    """Return a secret encrypted with the newest key, as it stands in a settings file (``enc:…``).

    :raises UnreadableSecretError: when there is no key, or one that is none.
    """
    return PREFIX + _box(keys).encrypt(text.encode()).decode()


def decrypt(token: str, keyring: Keyring) -> str:
    """Return the secret of a token, the text after ``enc:``.

    :raises UnreadableSecretError: when no key opens it.
    """
    try:
        return _box(keyring.keys).decrypt(token.strip()).decode()
    except InvalidToken:
        raise _closed() from None


def renew(token: str, keys: Sequence[SecretStr]) -> str:
    """Return the token after ``enc:`` encrypted again with the newest key, as ``enc:…``.

    :raises UnreadableSecretError: when no key opens it.
    """
    try:
        return PREFIX + _box(keys).rotate(token).decode()
    except InvalidToken:
        raise _closed() from None


def _closed() -> UnreadableSecretError:
    return UnreadableSecretError(
        f"no key of {WHERE_KEYS_ARE} opens it: add the key it was encrypted with, or encrypt the secret again"
        " (flowledger secrets encrypt)"
    )


def _box(keys: Sequence[SecretStr]) -> MultiFernet:
    if not keys:
        raise UnreadableSecretError(
            f"is encrypted and there is no key: set {WHERE_KEYS_ARE} (flowledger secrets new-key makes one)"
        )
    return MultiFernet([_fernet(number, key) for number, key in enumerate(keys, 1)])


def _fernet(number: int, key: SecretStr) -> Fernet:
    try:
        return Fernet(key.get_secret_value())
    except ValueError:
        raise UnreadableSecretError(
            f"key {number} of {WHERE_KEYS_ARE} is no key: flowledger secrets new-key makes one"
        ) from None


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
    # All files or none, so that the old key can be dropped as soon as this has succeeded.
    replace_all(contents)
    return rotated


def _files(root: Path) -> Iterator[Path]:
    yield from sorted((root / "config").glob("*.yaml"))
    yield from (root / name for name in ENV_FILES if (root / name).is_file())


def _renewed(file: Path, root: Path, keys: Sequence[SecretStr]) -> tuple[bytes, int, list[str]]:
    """Return a file's new content, the number of renewed secrets, and a line for each that failed."""
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        return b"", 0, [f"{file.relative_to(root)}: cannot be read ({error.strerror})"]
    wrong: list[str] = []
    count = 0

    def again(match: re.Match[bytes]) -> bytes:
        nonlocal count
        try:
            renewed = renew(match[1].decode(), keys).encode()
        except UnreadableSecretError as error:
            # A token in a comment may be of a key that is long gone.
            if not COMMENT.search(match.string[: match.start()]):
                wrong.append(f"line {number} of {file.relative_to(root)}: {error}")
            return match[0]
        count += 1
        return renewed

    for number, line in enumerate(lines, 1):
        lines[number - 1] = TOKEN.sub(again, line)
    return b"\n".join(lines), count, wrong
