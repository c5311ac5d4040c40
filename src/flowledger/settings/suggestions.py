"""What an unknown name was probably meant to be."""

from collections.abc import Collection
from difflib import get_close_matches

NEIGHBOURS = ("PREFECT_", "AWS_", "OTEL_", "DOCKER_", "COMPOSE_")
"""How variables of other programs begin that may stand in the same files."""


def similar(name: str, known: Collection[str]) -> str | None:
    """Give the known name that an unknown one is probably meant to be.

    Prefect has many variables of its own that look alike, so there only near certainty counts.
    """
    if name in known:
        return None
    cutoff = 0.9 if name.upper().startswith(NEIGHBOURS) else 0.8
    candidates = {each.upper(): each for each in sorted(known)}
    close = get_close_matches(name.upper(), candidates, n=1, cutoff=cutoff)
    return candidates[close[0]] if close else None


def stray(label: str, guess: str | None) -> str:
    """Give the line of an unknown name."""
    return f"{label}: unknown setting" + (f", did you mean {guess}?" if guess else "")
