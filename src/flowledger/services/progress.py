"""Progress that nobody watches."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SilentProgress:
    """Takes everything and shows nothing."""

    def stage(self, name: str, total: int | None) -> None:
        """Begin a stage."""

    def advance(self, steps: int = 1) -> None:
        """So many steps further."""

    def note(self, text: str) -> None:
        """Say something worth knowing."""
