"""What is done to the history, for the audit trail."""

import re
from collections.abc import Mapping
from datetime import datetime
from uuid import uuid4

from flowledger.domain.operations import Operation
from flowledger.domain.runs import AppKey, Json

DELETE, CLEANUP, IMPORT, MIGRATE, RESTORE = "DELETE", "CLEANUP", "IMPORT", "MIGRATE", "RESTORE"
INCOMING = (IMPORT, MIGRATE, RESTORE)
"""Acts that a ledger has on record about itself only, since what came in came from another."""
_PASSWORD = re.compile(r"(?<=://)([^:/@\s]*):[^@/\s]*@")


def act(
    operation_type: str,
    at: datetime,
    user: str,
    data: Mapping[str, Json],
    *,
    app: AppKey | None = None,
    subject: str | None = None,
) -> Operation:
    """Make an operation with an id of its own."""
    return Operation(f"history-{uuid4().hex}", operation_type, at, user, app, subject, dict(data))


def place_shown(place: str) -> str:
    """Give a URL or folder without the password in it."""
    return _PASSWORD.sub(r"\1:…@", place).partition("?")[0]
