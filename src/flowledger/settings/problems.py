"""What is wrong with settings, one line each, naming the variable and its place and never a secret."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from flowledger.settings.model import AppSettings
from flowledger.settings.variables import HINTS

Way = tuple[int | str, ...]
"""Way to a value: variable, or ``APPS``, number and field."""

Label = Callable[[Way], str]
"""Gives name and place of a value, for people."""

NOT_AN_ERROR_ITSELF = "default_factory_not_called"
"""Pydantic's word for a default that waits for another field, which has a line of its own."""

PLAIN = {
    "tuple_type": "must be a list",
    "model_type": "must be a mapping with id, base_url, api_token",
}
"""Pydantic's word → ours, where its sentence speaks of Python."""


def similar(name: str, known: Collection[str]) -> str | None:
    """Give the known name that an unknown one is probably meant to be.

    Prefect has many variables of its own that look alike, so there only near certainty counts.
    """
    if name in known:
        return None
    cutoff = 0.9 if name.upper().startswith("PREFECT_") else 0.8
    candidates = {each.upper(): each for each in sorted(known)}
    close = get_close_matches(name.upper(), candidates, n=1, cutoff=cutoff)
    return candidates[close[0]] if close else None


def stray(label: str, guess: str | None) -> str:
    """Give the line of an unknown name."""
    return f"{label}: unknown setting" + (f", did you mean {guess}?" if guess else "")


def describe(error: ValidationError, label: Label) -> Iterator[str]:
    """Give a line for each thing wrong."""
    for detail in error.errors(include_url=False, include_input=False):
        way, kind = detail["loc"], detail["type"]
        if kind == "missing":
            yield _unset(way, label)
        elif kind == "extra_forbidden":
            yield stray(label(way), similar(str(way[-1]), AppSettings.model_fields))
        elif kind != NOT_AN_ERROR_ITSELF:
            yield f"{label(way)}: {PLAIN.get(kind) or _plain(detail['msg'])}"


def incomplete(app: Mapping[str, Any], place: Way, label: Label) -> Iterator[str]:
    """Give a line for each half of a console access, and for more than one access."""
    for present, needed in (
        ("console_email", "console_password"),
        ("console_password", "console_email"),
        ("admin_api_key", "workspace_id"),
    ):
        if app.get(present) and not app.get(needed):
            yield _unset((*place, needed), label)
    ways = [way for way in ("console_password", "console_token", "admin_api_key") if app.get(way)]
    if len(ways) > 1:
        kept, other = (label((*place, way)) for way in ways[:2])
        yield f"{other}: the console needs one way in; keep this or {kept}"


def clashes(apps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Give a line for each id or name that two apps share."""
    names = [
        word
        for app in apps
        for word in dict.fromkeys(str(app[field]).strip() for field in ("id", "name") if field in app)
    ]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"two apps are called {name!r}: ids and names must differ"


def _unset(way: Way, label: Label) -> str:
    return f"{label(way)} is not set: {HINTS[str(way[-1])]}"


def _plain(text: str) -> str:
    """Turn pydantic's sentence into ours: without its subject, and without the name of a Python class."""
    for subject in ("Value error, ", "Value ", "Input "):
        if text.startswith(subject):
            text = text.removeprefix(subject)
            break
    return text.partition(" for <class ")[0]
