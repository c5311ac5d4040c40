"""Logs as text for people."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

_EXECUTION = ("start_time", "status", "workflow_id", "execution_id", "end_time")
_OPERATION = ("timestamp", "operation_type", "workflow_id", "operation_id", "user")


class LogFormatter:
    """Writes an execution or an operation, as ``LogService`` gives them, as a line, as JSON or as a table."""

    def line(self, log: Mapping[str, Any]) -> str:
        """Give one line: when, what, of which workflow, and the last message or the data."""
        told = " ".join(_cell(log.get(name)) for name in _fields(log))
        messages = log.get("messages")
        more = messages[-1] if isinstance(messages, list) and messages else log.get("data")
        return f"{told} {_cell(more)}" if more else told

    def json(self, log: Mapping[str, Any], *, indent: int | None = None) -> str:
        """Give JSON; on one line where no indent is asked for."""
        return json.dumps(log, ensure_ascii=False, indent=indent)

    def table(self, logs: Sequence[Mapping[str, Any]]) -> str:
        """Give a table of logs of one kind, a line for each below a line of names."""
        if not logs:
            return ""
        names = _fields(logs[0])
        rows = [names, *(tuple(_cell(log.get(name)) for name in names) for log in logs)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
        return "\n".join(lines)


def _fields(log: Mapping[str, Any]) -> tuple[str, ...]:
    return _OPERATION if "operation_id" in log else _EXECUTION


def _cell(value: object) -> str:
    """Write a value so that it stays on its line and moves no cursor."""
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
