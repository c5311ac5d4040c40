"""COZE_RUN: runs a workflow in Coze and waits for its end."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from flowledger import errors
from flowledger.domain.coze_runs import CUT_SHORT, SUCCESS, CozeEvent, Ending, Transcript, WorkflowOrder
from flowledger.domain.runs import Json
from flowledger.domain.workflows.steps import ErrorType
from flowledger.io.json_text import loads
from flowledger.io.own_thread import OwnThreads
from flowledger.nodes.options import OBJECT, TEXT, Schema, handled
from flowledger.workflow_ports import NodeAnswer, NodeCall

OUTPUT_BYTES = 4 * 2**20
_ERROR_TYPES: Mapping[type[errors.FlowledgerError], str] = {
    errors.SourceUnreachableError: ErrorType.CONNECTION,
    errors.DeadlineExceededError: ErrorType.TIMEOUT,
}

AT_ONCE = 64


class UpstreamRun(Protocol):
    """One run in Coze: one thread opens and reads it, any may close it."""

    def open(self) -> None:
        """Begin it, and return when it was accepted."""

    def read(self) -> Sequence[CozeEvent]:
        """Wait for the next events; none at the end."""

    def close(self) -> None:
        """End the connection, also under a thread that reads."""


def no_coze(_: WorkflowOrder) -> UpstreamRun:
    """Refuse to run anything.

    :raises UsageError: always.
    """
    raise errors.UsageError("COZE_API_TOKEN is not set: nothing can be run in Coze")


@dataclass(frozen=True)
class CozeRunNode:
    """Runs ``workflow`` with ``inputs``; its output has what each of its message and end nodes said."""

    config_schema: ClassVar[Schema] = handled(
        "workflow", workflow=TEXT, inputs=OBJECT, bot_id=TEXT, user_id=TEXT
    )
    prepare: Callable[[WorkflowOrder], UpstreamRun] = no_coze
    threads: OwnThreads = field(default_factory=lambda: OwnThreads("coze-run", AT_ONCE))

    async def run(self, call: NodeCall) -> NodeAnswer:
        """Follow the run as it streams; a step that is cancelled ends the connection.

        :raises UsageError: when Coze cannot be used.
        """
        upstream, transcript = self.prepare(_order(call.config)), Transcript(OUTPUT_BYTES)
        try:
            ending = await self.threads.run(lambda: _follow(upstream, transcript))
        except errors.FlowledgerError as error:
            return _refused(error)
        finally:
            upstream.close()
        return _answer(ending, transcript)


def _order(config: Mapping[str, Json]) -> WorkflowOrder:
    inputs = config.get("inputs")
    texts = {name: str(config[name]) for name in ("bot_id", "user_id") if config.get(name) is not None}
    return WorkflowOrder(
        str(config.get("workflow") or ""), inputs if isinstance(inputs, Mapping) else {}, **texts
    )


def _follow(upstream: UpstreamRun, transcript: Transcript) -> Ending:
    upstream.open()
    while events := upstream.read():
        for event in events:
            ending = transcript.take(event)
            if ending is not None:
                return ending
    return CUT_SHORT


def _answer(ending: Ending, transcript: Transcript) -> NodeAnswer:
    changes = transcript.changes()
    output = {name: _value(text) for name, text in changes.get("output", {}).items()}
    body = {"status": ending.status, "error_code": ending.error_code}
    body |= {name: changes[name] for name in ("usage", "debug_url") if name in changes}
    response = {"status": 200, "headers": {}, "body": body}
    if ending.status != SUCCESS:
        kind = "CozeInterrupted" if ending.interrupt is not None else "CozeRunFailed"
        code = "" if ending.error_code is None else f"{ending.error_code}: "
        return NodeAnswer(output, response, error=f"{code}{ending.error_message}", error_type=kind)
    if transcript.is_trimmed:
        text = f"the run's output has more than {OUTPUT_BYTES:,} bytes"
        return NodeAnswer(None, response, error=text, error_type="ResponseTooLarge")
    return NodeAnswer(output, response, metrics=_tokens(transcript.usage))


def _value(text: str) -> Json:
    """Return what an end node returned: variables come as JSON, a text as it is."""
    if text[:1] in ("{", "["):
        with suppress(ValueError):
            value: Json = loads(text)
            return value
    return text


def _tokens(usage: Mapping[str, Json] | None) -> dict[str, float]:
    number = (usage or {}).get("token_count")
    return {"tokens": float(number)} if type(number) is int else {}


def _refused(error: errors.FlowledgerError) -> NodeAnswer:
    status = getattr(error, "status", None)
    return NodeAnswer(
        error=str(error),
        error_type=_ERROR_TYPES.get(type(error), type(error).__name__),
        http_status=status if isinstance(status, int) and status >= 400 else None,
        retry_after_s=getattr(error, "retry_after_s", None),
    )
