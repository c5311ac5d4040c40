"""What this process must never say: the secrets of its settings, for every text that leaves it.

Logs, messages and errors come from everywhere, so the values are known to the process as a whole, as its
log is.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flowledger.domain.redaction import MARK, Redactor, redactor
from flowledger.errors import FlowledgerError, SettingsError

SECRET_NAMES = ("password", "secret", "token", "authorization", "cookie", "credential", "api_key", "webhook")
DEEPEST = 20


class _Registered:
    """The redactor in use; replaced as a whole, so that threads never see half of one."""

    redactor: Redactor = redactor(())


def register_secrets(secrets: Iterable[str]) -> None:
    """Hide these values from now on, instead of those before."""
    _Registered.redactor = redactor(secrets)


def redacted(text: str) -> str:
    """Return a text without the known secrets and without what looks like a token."""
    return _Registered.redactor(text)


def redacted_value(value: object, depth: int = 0) -> Any:
    """Return a JSON value whose texts are without secrets; other objects become such texts."""
    match value:
        case bool() | int() | float() | None:
            return value
        case Mapping() if depth < DEEPEST:
            return {redacted(str(name)): _named(str(name), each, depth) for name, each in value.items()}
        case list() | tuple() | set() | frozenset() if depth < DEEPEST:
            return [redacted_value(each, depth + 1) for each in value]
    return redacted(str(value))


def _named(name: str, value: object, depth: int) -> Any:
    is_secret = isinstance(value, str) and any(word in name.lower() for word in SECRET_NAMES)
    return MARK if is_secret else redacted_value(value, depth + 1)


@contextmanager
def redacted_errors() -> Iterator[None]:
    """Take secrets out of the errors that leave the context, those they come from included.

    :raises FlowledgerError: in the place of an error whose text cannot be changed.
    """
    try:
        yield
    except Exception as error:
        for each in _chain(error):
            _clean(each)
        if redacted(str(error)) != str(error):
            raise FlowledgerError(f"{type(error).__name__}: {redacted(str(error))}") from None
        raise


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those it comes from, each once."""
    waiting, visited = [error], set[int]()
    while waiting:
        each = waiting.pop()
        if id(each) in visited:
            continue
        visited.add(id(each))
        yield each
        waiting += [cause for cause in (each.__cause__, each.__context__) if cause]
        waiting += each.exceptions if isinstance(each, BaseExceptionGroup) else ()


def _clean(error: BaseException) -> None:
    error.args = tuple(redacted(part) if isinstance(part, str) else part for part in error.args)
    if notes := getattr(error, "__notes__", None):
        error.__notes__ = [redacted(note) for note in notes]
    if isinstance(error, SettingsError):
        error.problems = tuple(map(redacted, error.problems))
    body = getattr(error, "body", None)
    if isinstance(error, FlowledgerError) and isinstance(body, str):
        error.body = redacted(body)  # type: ignore[attr-defined]  # some of the tree have one
    _clean_context(error)


def _clean_context(error: BaseException) -> None:
    """Cut off what an error comes from where its text cannot be changed, since tracebacks show it."""
    for name in ("__cause__", "__context__"):
        cause = getattr(error, name)
        if cause is not None and _stays_secret(cause):
            setattr(error, name, None)


def _stays_secret(error: BaseException) -> bool:
    text = str(error)
    if redacted(text) == text:
        return False
    _clean(error)
    return redacted(str(error)) != str(error)
