"""What is wrong with settings, one line each, naming the variable and its place and never a secret."""

from collections.abc import Callable, Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

Label = Callable[[str], str]
"""Gives a field's name and place for people."""

NOT_AN_ERROR_ITSELF = "default_factory_not_called"
"""Pydantic's word for a default that waits for another field, which has a line of its own."""


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


def describe(error: ValidationError, label: Label, hints: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Give field and line of each thing wrong."""
    for detail in error.errors(include_url=False, include_input=False):
        name = str(detail["loc"][0])
        if detail["type"] == "missing":
            yield name, f"{label(name)} is not set: {hints[name]}"
        elif detail["type"] != NOT_AN_ERROR_ITSELF:
            yield name, f"{label(name)}: {_message(detail['msg'])}"


def stray(name: str, label: Label, known: Collection[str]) -> str:
    """Give the line of an unknown field."""
    guess = similar(name, known)
    return f"{label(name)}: unknown setting" + (f", did you mean {guess}?" if guess else "")


def incomplete(given: Mapping[str, Any], label: Label, hints: Mapping[str, str]) -> Iterator[str]:
    """Give a line for each half of a console access, and for more than one access."""
    for present, needed in (
        ("console_email", "console_password"),
        ("console_password", "console_email"),
        ("admin_api_key", "workspace_id"),
    ):
        if given.get(present) and not given.get(needed):
            yield f"{label(needed)} is not set: {hints[needed]}"
    ways = [way for way in ("console_password", "console_token", "admin_api_key") if given.get(way)]
    if len(ways) > 1:
        yield f"{label(ways[1])}: the console needs one way in; keep this or {label(ways[0])}"


def _message(text: str) -> str:
    """Turn pydantic's sentence into ours: without its subject, and without the name of a Python class."""
    for subject in ("Value error, ", "Value ", "Input "):
        if text.startswith(subject):
            text = text.removeprefix(subject)
            break
    return text.partition(" for <class ")[0]
