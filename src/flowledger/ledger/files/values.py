"""Domain values as JSON of a journal's lines, and back."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from flowledger.domain.access_keys import AccessKey, Role
from flowledger.domain.certificates import Certificate, Scope
from flowledger.domain.messages import Letter
from flowledger.domain.operations import Operation
from flowledger.domain.runs import AppKey, Creator, Level, Run, RunStatus
from flowledger.domain.windows import Window
from flowledger.ledger.details import HeldDetail
from flowledger.ledger.letters import message_from, message_values

_INSTANTS = ("listed_at", "started_at", "finished_at")
_KEPT_APART = ("app", "raw")
_RUN_FIELDS = tuple(each.name for each in fields(Run) if each.name not in _KEPT_APART)


def instant_text(instant: datetime) -> str:
    """Write an aware time, in UTC."""
    if instant.tzinfo is None:
        raise ValueError(f"{instant} has no time zone")
    return instant.astimezone(UTC).isoformat()


def maybe_text(instant: datetime | None) -> str | None:
    """Write an aware time, or none."""
    return None if instant is None else instant_text(instant)


def instant_from(text: str) -> datetime:
    """Read an aware time, in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC)


def maybe_instant(text: str | None) -> datetime | None:
    """Read an aware time, or none."""
    return None if text is None else instant_from(text)


def app_values(app: AppKey | None) -> list[str] | None:
    """Give an app as a list of its source and its id."""
    return None if app is None else [app.source, app.app_id]


def app_from(values: list[str]) -> AppKey:
    """Make an app of ``app_values``."""
    source, app_id = values
    return AppKey(source, app_id)


def run_values(run: Run) -> dict[str, Any]:
    """Give a run without app and raw as a JSON object; what is not known is left out."""
    values = {name: value for name in _RUN_FIELDS if (value := getattr(run, name)) is not None}
    for name in _INSTANTS:
        if name in values:
            values[name] = instant_text(values[name])
    if run.creator is not None:
        values["creator"] = {name: value for name, value in asdict(run.creator).items() if value is not None}
    if run.elapsed_s is not None:
        values["elapsed_s"] = str(run.elapsed_s)
    return values


def run_from(app: AppKey, values: Mapping[str, Any], raw: bytes) -> Run:
    """Make the run of ``run_values`` again."""
    given = dict(values)
    for name in _INSTANTS:
        given[name] = maybe_instant(values.get(name))
    given["status"] = RunStatus(values["status"])
    if "creator" in values:
        given["creator"] = Creator(**values["creator"])
    if "elapsed_s" in values:
        given["elapsed_s"] = Decimal(values["elapsed_s"])
    return Run(app=app, raw=raw, **given)


def held_values(held: HeldDetail) -> list[Any]:
    """Give what is held of a detail as a list: level, reason, permanent, read open."""
    return [held.level.value, held.reason, held.permanent, held.read_open]


def held_from(values: list[Any]) -> HeldDetail:
    """Make what is held of a detail of ``held_values``."""
    level, reason, permanent, read_open = values
    return HeldDetail(Level(level), reason, permanent, read_open)


def scope_values(scope: Scope) -> dict[str, Any]:
    """Give a scope as a JSON object."""
    return {
        "app": app_values(scope.app),
        "after": scope.window.after,
        "before": scope.window.before,
        "query": scope.query,
    }


def scope_from(values: Mapping[str, Any]) -> Scope:
    """Make the scope of ``scope_values`` again."""
    return Scope(app_from(values["app"]), Window(values["after"], values["before"]), values["query"])


def certificate_values(certificate: Certificate) -> dict[str, Any]:
    """Give a certificate as a JSON object."""
    return {
        **scope_values(certificate.scope),
        "certified": certificate.certified,
        "reason": certificate.reason,
        "expected": certificate.expected,
        "distinct": certificate.distinct,
        "retained": certificate.retained,
        "at": instant_text(certificate.at),
    }


def certificate_from(values: Mapping[str, Any]) -> Certificate:
    """Make the certificate of ``certificate_values`` again."""
    return Certificate(
        scope=scope_from(values),
        certified=values["certified"],
        reason=values["reason"],
        expected=values["expected"],
        distinct=values["distinct"],
        retained=values["retained"],
        at=instant_from(values["at"]),
    )


def operation_values(operation: Operation) -> dict[str, Any]:
    """Give an operation as a JSON object, in the words of the record services; the app's source is beside."""
    app = operation.app
    return {
        "operation_id": operation.operation_id,
        "operation_type": operation.operation_type,
        "workflow_id": None if app is None else app.app_id,
        "timestamp": instant_text(operation.at),
        "user": operation.user,
        "data": dict(operation.data),
        "source": None if app is None else app.source,
        "subject": operation.subject,
    }


def operation_from(values: Mapping[str, Any]) -> Operation:
    """Make the operation of ``operation_values`` again."""
    source = values["source"]
    return Operation(
        operation_id=values["operation_id"],
        operation_type=values["operation_type"],
        at=instant_from(values["timestamp"]),
        user=values["user"],
        app=None if source is None else AppKey(source, values["workflow_id"]),
        subject=values["subject"],
        data=values["data"],
    )


def letter_values(letter: Letter) -> dict[str, Any]:
    """Give a letter as a JSON object."""
    return {
        "letter_id": letter.letter_id,
        "channel": letter.channel,
        "message": message_values(letter.message),
        "app": app_values(letter.app),
        "posted_at": instant_text(letter.posted_at),
        **fate_values(letter),
    }


def fate_values(letter: Letter) -> dict[str, Any]:
    """Give what sending may change of a letter."""
    return {
        "not_before": instant_text(letter.not_before),
        "tries": letter.tries,
        "problem": letter.problem,
        "sent_at": maybe_text(letter.sent_at),
        "given_up": letter.given_up,
    }


def fate_from(values: Mapping[str, Any]) -> dict[str, Any]:
    """Give the fields of ``fate_values`` as a letter has them."""
    return {
        "not_before": instant_from(values["not_before"]),
        "tries": values["tries"],
        "problem": values["problem"],
        "sent_at": maybe_instant(values["sent_at"]),
        "given_up": values["given_up"],
    }


def letter_from(values: Mapping[str, Any]) -> Letter:
    """Make the letter of ``letter_values`` again."""
    return Letter(
        letter_id=values["letter_id"],
        channel=values["channel"],
        message=message_from(values["message"]),
        app=None if values["app"] is None else app_from(values["app"]),
        posted_at=instant_from(values["posted_at"]),
        **fate_from(values),
    )


def key_values(key: AccessKey) -> dict[str, Any]:
    """Give a key of the API as a JSON object."""
    return {
        "key_id": key.key_id,
        "name": key.name,
        "digest": key.digest,
        "role": key.role.name.lower(),
        "created_at": instant_text(key.created_at),
        "apps": None if key.apps is None else [app_values(app) for app in key.apps],
        "expires_at": maybe_text(key.expires_at),
        "revoked_at": maybe_text(key.revoked_at),
    }


def key_from(values: Mapping[str, Any]) -> AccessKey:
    """Make the key of ``key_values`` again."""
    return AccessKey(
        key_id=values["key_id"],
        name=values["name"],
        digest=values["digest"],
        role=Role[values["role"].upper()],
        created_at=instant_from(values["created_at"]),
        apps=None if values["apps"] is None else tuple(map(app_from, values["apps"])),
        expires_at=maybe_instant(values["expires_at"]),
        revoked_at=maybe_instant(values["revoked_at"]),
    )
