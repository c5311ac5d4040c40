"""Acts on apps, runs, reports and settings: the audit trail."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from flowledger.domain.runs import AppKey, Json


@dataclass(frozen=True, slots=True)
class Operation:
    """An act by a person or a program; ``data`` is any JSON object without secrets."""

    operation_id: str
    operation_type: str
    at: datetime
    user: str
    app: AppKey | None = None
    subject: str | None = None
    data: Mapping[str, Json] = field(default_factory=dict)
