"""Which runs are wanted, and which part of that the source can be trusted to decide."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from flowledger.domain.runs import Detailed, Entry, Missing


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

    def __str__(self) -> str:
        """Explain the filter the way it was asked for, empty for "any"."""
        parts = {
            "status": self.status,
            "keyword": self.keyword,
            "session": self.session_id,
            "account": self.account,
        }
        return ", ".join(f"{name} = {value}" for name, value in parts.items() if value)

    @property
    def needs_detail(self) -> bool:
        """Return whether details are needed: for texts, and for sessions, which not every list has."""
        return bool(self.keyword or self.session_id)

    def misses_detail(self, entry: Entry) -> bool:
        """Return whether only a missing detail leaves a run undecided: its texts might hold the keyword."""
        undecided = self.keyword and isinstance(entry.detail, Missing) and not self.matches(entry)
        return bool(undecided) and replace(self, keyword=None).matches(entry)

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
    """Look through any depth of JSON; a recursion would end at some hundred levels."""
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, Mapping):
            left += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple):
            left += value
        elif value is not None and keyword in str(value).casefold():
            return True
    return False


@dataclass(frozen=True, slots=True)
class FilterSplit:
    """A filter divided between the source and us; ``notes`` say to the reader what we decide ourselves."""

    remote: Mapping[str, str] = field(default_factory=dict)
    local: RunFilter = field(default_factory=RunFilter)
    notes: tuple[str, ...] = ()

    @property
    def query(self) -> str:
        """Canonical text of the source's part, the same for the same filter; values are quoted, so that none
        can pass for two."""
        return "&".join(f"{name}={self.remote[name]!r}" for name in sorted(self.remote))
