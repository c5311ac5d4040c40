"""What becomes of runs, details and messages that are stored already; pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from flowledger.domain.history import RunKey
from flowledger.domain.merging import merge
from flowledger.domain.messages import Attachment, Message, OutboxMessage
from flowledger.domain.run_mapping import decoded
from flowledger.domain.runs import UNREAD, Detail, Detailed, Level, Missing, Run, level_of
from flowledger.errors import LedgerError
from flowledger.ledger.texts import clean
from flowledger.ports import Decoder


def latest(stored: datetime | None, incoming: datetime | None) -> datetime | None:
    """Return the later of two collections, either of which may not have been."""
    if stored is None or incoming is None:
        return stored or incoming
    return max(stored, incoming)


def check_amended(key: RunKey, run: Run) -> None:
    """Refuse a change that makes another run of the one it was asked about.

    :raises ValueError: naming both.
    """
    if clean(str(RunKey(run.app, run.run_id))) != clean(str(key)):
        raise ValueError(f"the change of run {key} gave run {run.run_id} of {run.app}")


@dataclass(slots=True, eq=False)
class MergedRun:
    """A run as all sightings so far make it."""

    run: Run


@dataclass(frozen=True, slots=True)
class RunMerger:
    """The runs of one app, each once, whatever ids they were seen under.

    A gone row may come under an id of its own; the log id then tells that its run is known already,
    or, when the run turns up later, that it takes the place of the gone row.
    """

    by_run: dict[str, MergedRun] = field(default_factory=dict)
    by_log: dict[str, MergedRun] = field(default_factory=dict)

    def see(self, incoming: Run) -> tuple[MergedRun, bool]:
        """Take a sighting in; say which run it is and whether nothing was known of it before."""
        merged = self.by_run.get(incoming.run_id)
        fresh = merged is None
        if merged is not None:
            merged.run = merge(merged.run, incoming)
        else:
            merged, fresh = self._see_by_log_id(incoming)
        self.by_run[merged.run.run_id] = merged
        if merged.run.log_id:
            self.by_log[merged.run.log_id] = merged
        return merged, fresh

    def _see_by_log_id(self, incoming: Run) -> tuple[MergedRun, bool]:
        earlier = self.by_log.get(incoming.log_id or "")
        if earlier is None or not (incoming.gone or earlier.run.gone):
            return MergedRun(incoming), True
        if incoming.gone:
            earlier.run = merge(earlier.run, incoming)
            return earlier, False
        del self.by_run[earlier.run.run_id]
        earlier.run = merge(earlier.run, incoming)
        return earlier, True


NOT_READ = UNREAD
LEFT_OUT = Missing("left out of this reading")


@dataclass(frozen=True, slots=True)
class StoredDetail:
    """A detail without its bodies: depth, why it is not deeper, and whether its run was open when read."""

    level: Level
    reason: str
    permanent: bool
    read_open: bool

    @property
    def may_change(self) -> bool:
        """Whether something was read of a run that had not ended."""
        return self.read_open and self.level > Level.NONE

    @property
    def settled(self) -> bool:
        """Whether no wish for depth can ever make the run pending again."""
        return not self.may_change and (self.permanent or self.level == Level.NODES)


def summarise(run: Run, detail: Detail) -> StoredDetail:
    """Return what is stored of a detail; ``run`` is the run as it was when the detail was read."""
    absent = detail.nodes if isinstance(detail, Detailed) else detail
    reason, permanent = (absent.reason, absent.permanent) if isinstance(absent, Missing) else ("", False)
    return StoredDetail(level_of(detail), clean(reason), permanent, run.status.is_open)


def rebuild(
    run: Run, stored: StoredDetail | None, raws: Mapping[str, bytes], decoders: Mapping[str, Decoder]
) -> Detail:
    """Make a detail of what is held.

    :raises LedgerError: when nothing can read the bodies of the run's source.
    """
    if stored is None:
        return NOT_READ
    if stored.level == Level.NONE:
        return Missing(stored.reason, stored.permanent)
    if run.app.source not in decoders:
        raise LedgerError(
            f"run {run.run_id} of {run.app}: nothing here can read details of the source {run.app.source!r};"
            f" readable are {', '.join(sorted(decoders)) or 'none'}: add its decoder"
        )
    detailed = decoded(decoders[run.app.source], run, raws, stored.reason)
    if stored.level == Level.NODES:
        return detailed
    return replace(detailed, nodes=Missing(stored.reason, stored.permanent))


def message_values(message: Message) -> dict[str, Any]:
    """Return a message as a JSON object; nothing of it is changed."""
    values = {each.name: getattr(message, each.name) for each in fields(message)}
    values["attachments"] = [asdict(attachment) for attachment in message.attachments]
    values["data"] = dict(message.data)
    # Older programs know no such field: they read what has none.
    if not values.pop("recipients"):
        return values
    return {**values, "recipients": list(message.recipients)}


def message_from(values: Mapping[str, Any]) -> Message:
    """Make the message of ``message_values`` again."""
    attachments = tuple(Attachment(**each) for each in values["attachments"])
    recipients = tuple(values.get("recipients") or ())
    return Message(**{**values, "attachments": attachments, "recipients": recipients})


def completed(stored: OutboxMessage, incoming: OutboxMessage) -> OutboxMessage:
    """Return the message to store: one that was sent stays sent, and one given up waits no more.

    A sender whose lease ended completes late what another has completed already.
    """
    if stored.sent_at is not None or (stored.given_up and incoming.sent_at is None):
        return stored
    return replace(
        stored,
        tries=max(stored.tries, incoming.tries),
        problem=incoming.problem,
        not_before=incoming.not_before,
        sent_at=incoming.sent_at,
        given_up=incoming.given_up,
    )


def never_enqueued(message: OutboxMessage) -> LedgerError:
    """Return the error for a message that is not there."""
    return LedgerError(
        f"the message {message.letter_id!r} was never enqueued: enqueue it before it is completed"
    )
