"""The workspaces of a console account, and what to do where it looks at another one than the app's.

The current workspace belongs to the account: whoever switches it in a browser switches it for every session
(docs/dify-api.md "Log-in").
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flowledger.dify import parsing


class Workspace(NamedTuple):
    """A workspace that an account is a member of, and whether its sessions look at it."""

    id: str
    name: str
    is_current: bool


def read_workspaces(body: Mapping[str, Any]) -> Sequence[Workspace]:
    """Return the workspaces of the console's list; rows without a name have their id for it."""
    rows = body.get("workspaces")
    return [
        Workspace(str(row.get("id")), str(row.get("name") or row.get("id")), row.get("current") is True)
        for row in (parsing.mapping(each) or {} for each in (rows if isinstance(rows, list) else ()))
    ]


def app_elsewhere(app_id: str, workspaces: Sequence[Workspace]) -> str:
    """Return where an account looks, that the app is not there, and what to do."""
    current = [each.name for each in workspaces if each.is_current]
    others = [each.name for each in workspaces if not each.is_current]
    return (
        f"the console account looks at the workspace {', '.join(current) or '(unknown)'}, which has no app"
        f" {app_id} (its other workspaces: {', '.join(others) or 'none'}): switch it to the app's workspace"
        " in Dify, or use an account of its own that is in no other workspace"
    )


def app_elsewhere_by_admin_key(app_id: str) -> str:
    """Return the same for an admin key, whose workspace is a setting."""
    return (
        f"the workspace of the admin key has no app {app_id}: set DIFY_WORKSPACE_ID to the id of the app's"
        " workspace"
    )
