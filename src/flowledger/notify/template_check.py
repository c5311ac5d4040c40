"""Try every template before it is needed."""

from collections.abc import Collection, Iterator, Sequence
from itertools import product
from pathlib import Path

from flowledger.domain.reports import LANGUAGES
from flowledger.errors import SettingsError
from flowledger.notify.samples import sample_notices
from flowledger.notify.templates import BODIES, PACKAGED, SUFFIX, Templates

PART = "_"
"""How the name of a part begins that other templates include."""


def check_templates(folder: Path | None, channels: Sequence[str]) -> Iterator[str]:
    """Render every template with notices of every kind and give a line for each problem, with its place.

    ``channels`` are the types of channels that messages go through.
    """
    templates = Templates(folder)
    yield from _unknown(folder, channels)
    seen: set[str] = set()
    for channel, notice in product(channels, sample_notices()):
        try:
            templates.strictly(notice, channel)
        except SettingsError as error:
            new = [line for line in error.problems if line not in seen]
            seen.update(new)
            yield from new


def _unknown(folder: Path | None, channels: Sequence[str]) -> Iterator[str]:
    """Find templates whose names nothing asks for: a mistyped name would silently do nothing."""
    if folder is None or not folder.is_dir():
        return
    packaged = {path.name for path in PACKAGED.glob(f"*{SUFFIX}")}
    asked = packaged | {name for channel in channels for name in _names_of(channel, packaged)}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if path.name not in asked and not path.name.startswith(PART):
            yield f"{path}: no message uses this name; known are {', '.join(sorted(asked))}"


def _names_of(channel: str, packaged: Collection[str]) -> Iterator[str]:
    """Give the names that a channel without packaged templates may use."""
    if not any(name.startswith(f"{channel}.") for name in packaged):
        for language, extension in product(LANGUAGES, (*BODIES, "html")):
            yield f"{channel}.{language}.{extension}{SUFFIX}"
