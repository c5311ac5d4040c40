"""What a person asks of the history, read from words."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from flowledger.domain.history import RunKey, RunQuery
from flowledger.domain.record_kinds import status_from_word
from flowledger.domain.runs import AppKey, RunStatus
from flowledger.errors import UsageError
from flowledger.ports import RunHistory
from flowledger.services.log_query import instant_of

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h|d)?")
_SECONDS = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
_NEXT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """Filters in a person's words; what is left out asks for nothing."""

    sources: Sequence[str] = ()
    apps: Sequence[str] = ()
    workflows: Sequence[str] = ()
    statuses: Sequence[str] = ()
    since: str | None = None
    until: str | None = None
    user: str = ""
    longer: str | None = None
    shorter: str | None = None
    text: str = ""

    def to_json(self) -> dict[str, object]:
        """Return what was asked, for the audit trail."""
        values = {
            "sources": list(self.sources),
            "apps": list(self.apps),
            "workflows": list(self.workflows),
            "statuses": list(self.statuses),
            "since": self.since,
            "until": self.until,
            "user": self.user,
            "longer": self.longer,
            "shorter": self.shorter,
            "text": self.text,
        }
        return {name: value for name, value in values.items() if value}


@dataclass(frozen=True, slots=True)
class Apps:
    """The apps a person can name: those of the settings by name or id, those of the ledger by id.

    Any other is ``source:id``.
    """

    configured: Sequence[tuple[str, AppKey]]
    recorded: Sequence[AppKey]

    def key(self, text: str) -> AppKey:
        """Find an app.

        :raises UsageError: with the known ones, for an unknown one or where two have that id.
        """
        for name, app in self.configured:
            if text in (name, app.app_id):
                return app
        apps = list(dict.fromkeys([*(app for _, app in self.configured), *self.recorded]))
        matches = [app for app in apps if text in (str(app), app.app_id)]
        if len(matches) == 1:
            return matches[0]
        names = [name for name, _ in self.configured] + [str(app) for app in self.recorded]
        listed = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
        if matches:
            raise UsageError(f"{text!r} is the id of {', '.join(map(str, matches))}: write one of these")
        raise UsageError(f"unknown app {text!r:.200}: known are {listed or 'none: the ledger is empty'}")


def query_of(run_filter: HistoryFilter, apps: Apps, now: datetime, tz: str) -> RunQuery:
    """Read filters; times without offset are in the zone, a bare date of ``until`` is its whole day.

    :raises UsageError: for words that cannot be read.
    """
    since = instant_of(run_filter.since, now, tz) if run_filter.since else None
    until = instant_of(run_filter.until, now, tz, is_end=True) if run_filter.until else None
    if since and until and since > until:
        raise UsageError("--since lies after --until: exchange them")
    at_least = seconds_of(run_filter.longer) if run_filter.longer else None
    at_most = seconds_of(run_filter.shorter) if run_filter.shorter else None
    if at_least is not None and at_most is not None and at_least > at_most:
        raise UsageError("--longer is more than --shorter, so that nothing can match: exchange them")
    return RunQuery(
        sources=tuple(run_filter.sources),
        apps=tuple(dict.fromkeys(map(apps.key, run_filter.apps))) if run_filter.apps else None,
        workflows=tuple(run_filter.workflows),
        statuses=tuple(dict.fromkeys(map(status_of, run_filter.statuses))),
        listed_from=since,
        listed_before=until + _NEXT if until else None,
        user=run_filter.user,
        at_least_s=at_least,
        at_most_s=at_most,
        text=run_filter.text,
    )


def status_of(word: str) -> RunStatus:
    """Read a status: our word, or one of those that sources use for it.

    :raises UsageError: with ours, for an unknown one.
    """
    status = status_from_word(word)
    if status is None:
        raise UsageError(f"unknown status {word!r:.80}: one of {', '.join(each.value for each in RunStatus)}")
    return status


def seconds_of(text: str) -> Decimal:
    """Read a duration: ``10s``, ``2m``, ``1.5h``, ``500ms``, or seconds.

    :raises UsageError: when it is none.
    """
    matches = _DURATION.fullmatch(text.strip())
    if matches is None:
        raise UsageError(f"cannot read the duration {text!r:.80}: write 10s, 2m, 1.5h or 500ms")
    return Decimal(matches[1]) * _SECONDS[matches[2] or "s"]


def key_of(history: RunHistory, text: str, sources: Iterable[str], app: AppKey | None = None) -> RunKey:
    """Find a run that is named as source:app:run, or by its id alone.

    :raises UsageError: when there is none, or two apps have one of that id.
    """
    recorded = [each.app for each in history.apps()]
    candidates = (
        [RunKey(app, text)]
        if app
        else [RunKey(each, text.removeprefix(f"{each}:")) for each in recorded if text.startswith(f"{each}:")]
    )
    if app is None:
        matches = ((source, history.locate(source, text)) for source in dict.fromkeys(sources))
        candidates += [RunKey(each, text) for _, each in matches if each is not None]
    keys = [key for key in candidates if history.entry(key) is not None]
    if len(keys) == 1:
        return keys[0]
    if keys:
        raise UsageError(
            f"{text!r:.200} is a run of {', '.join(str(key.app) for key in keys)}: name it whole"
        )
    raise UsageError(
        f"no run {text!r:.200} in the ledger: give its id as history list shows it, or source:app:run"
    )
