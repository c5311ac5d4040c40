"""Which runs are wanted, and which part of that the source can be trusted to decide."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flowledger.domain.runs import Detailed, Entry


@dataclass(frozen=True, slots=True)
class RunFilter:
    """What a caller wants to see; None stands for "any".

    ``status`` is the source's own word.  ``keyword`` is looked for, whatever its case, in inputs, outputs and
    session id, and equals a run id whole.  ``session_id`` and ``account`` (an e-mail) are exact.
    """

    status: str | None = None
    keyword: str | None = None
    session_id: str | None = None
    account: str | None = None

    def __bool__(self) -> bool:
        return any((self.status, self.keyword, self.session_id, self.account))

    @property
    def needs_detail(self) -> bool:
        """Whether inputs and outputs must be known to decide."""
        return bool(self.keyword)

    def matches(self, entry: Entry) -> bool:
        """Decide on our side; a run whose detail is missing matches no keyword but in its ids."""
        run, creator = entry.run, entry.run.creator
        if self.status and run.source_status != self.status:
            return False
        if self.session_id and (creator is None or creator.session_id != self.session_id):
            return False
        if self.account and (creator is None or creator.email != self.account):
            return False
        return not self.keyword or _mentions(entry, self.keyword.casefold())


def _mentions(entry: Entry, keyword: str) -> bool:
    run = entry.run
    session = run.creator.session_id if run.creator else None
    if keyword == run.run_id.casefold() or (session and keyword in session.casefold()):
        return True
    return isinstance(entry.detail, Detailed) and any(
        _contains(value, keyword) for value in (entry.detail.inputs, entry.detail.outputs)
    )


def _contains(value: Any, keyword: str) -> bool:
    if isinstance(value, Mapping):
        return any(_contains(key, keyword) or _contains(inner, keyword) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return any(_contains(inner, keyword) for inner in value)
    return value is not None and keyword in str(value).casefold()


@dataclass(frozen=True, slots=True)
class FilterSplit:
    """A filter divided between the source and us; ``notes`` say to the reader what we decide ourselves."""

    remote: Mapping[str, str] = field(default_factory=dict)
    local: RunFilter = field(default_factory=RunFilter)
    notes: tuple[str, ...] = ()

    @property
    def query(self) -> str:
        """Canonical text of the source's part, the same for the same filter."""
        return "&".join(f"{name}={self.remote[name]}" for name in sorted(self.remote))
