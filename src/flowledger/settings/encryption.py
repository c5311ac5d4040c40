"""``enc:…``: a secret encrypted in a file, by Fernet; several keys may be in use, the newest first."""

import re
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from flowledger.errors import UnreadableSecretError
from flowledger.settings.references import Keyring

PREFIX = "enc:"
WHERE_KEYS_ARE = "FLOWLEDGER_SECRET_KEY or FLOWLEDGER_SECRET_KEY_FILE"


def new_key() -> str:
    """Make a key."""
    return Fernet.generate_key().decode()


def split_keys(text: str) -> tuple[SecretStr, ...]:
    """Read keys, newest first: one a line, or between commas; lines that begin with # are comments."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return tuple(SecretStr(word) for word in re.split(r"[,\s]+", "\n".join(lines)) if word)


def encrypt(text: str, keys: Sequence[SecretStr]) -> str:
    """Encrypt a secret with the newest key, into what stands in a settings file.

    :raises UnreadableSecretError: when there is no key, or one that is none.
    """
    return PREFIX + _box(keys).encrypt(text.encode()).decode()


def decrypt(token: str, keyring: Keyring) -> str:
    """Decrypt what follows ``enc:``.

    :raises UnreadableSecretError: when no key opens it.
    """
    try:
        return _box(keyring.keys).decrypt(token.strip()).decode()
    except InvalidToken:
        raise _closed() from None


def renew(token: str, keys: Sequence[SecretStr]) -> str:
    """Encrypt again with the newest key what follows ``enc:``.

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
