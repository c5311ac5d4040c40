"""Runs, node executions and apps as JSON objects with exactly the fields of a release.

The fields are those of docs/dify-api.md "The log list", "Run detail", "Console" and "Node executions".
"""

import json
from itertools import pairwise
from typing import Any

from flowledger_simulator import credentials
from flowledger_simulator.releases import Release
from flowledger_simulator.world import Account, EndUser, Json, Order, SimulatedApp, SimulatedRun

UNKNOWN_SERVICE_RUN: Json = dict.fromkeys(
    (
        "id",
        "workflow_id",
        "status",
        "inputs",
        "outputs",
        "error",
        "total_steps",
        "total_tokens",
        "created_at",
        "finished_at",
        "elapsed_time",
    )
)
"""The body of 1.9.1 and 1.12.1 for an unknown run (docs/dify-api.md "Run detail")."""

UNKNOWN_CONSOLE_RUN: Json = dict.fromkeys(
    (
        "id",
        "version",
        "graph",
        "inputs",
        "status",
        "outputs",
        "error",
        "elapsed_time",
        "total_tokens",
        "total_steps",
        "created_by_role",
        "created_by_account",
        "created_by_end_user",
        "created_at",
        "finished_at",
        "exceptions_count",
    )
)
"""The console's body for an unknown run, in every release."""


def author_fields(author: EndUser | Account) -> Json:
    """Return the three fields that name who ran it."""
    if isinstance(author, Account):
        account: Any = {"id": author.id, "name": author.name, "email": author.email}
        return {"created_by_role": "account", "created_by_account": account, "created_by_end_user": None}
    user: Any = {
        "id": author.id,
        "type": author.type,
        "is_anonymous": author.is_anonymous,
        "session_id": author.session_id,
    }
    return {"created_by_role": "end_user", "created_by_account": None, "created_by_end_user": user}


def log_row(run: SimulatedRun, release: Release, order: Order, *, detailed: bool = False) -> Json:
    """Return a row of the log list; ``detailed`` is the console's ``detail=true``."""
    row: Json = {"id": run.log_id, "workflow_run": None if run.gone else _run_of_log_row(run, release)}
    if release.shows_trigger:
        row["details"] = {"trigger_metadata": {}} if detailed else None
    return {
        **row,
        "created_from": run.created_from,
        **author_fields(run.author),
        "created_at": order(run),
    }


def _run_of_log_row(run: SimulatedRun, release: Release) -> Json:
    row: Json = {"id": run.id, "version": run.version, "status": run.status}
    if release.shows_trigger:
        row["triggered_from"] = run.triggered_from
    row["error"] = run.error
    row["elapsed_time"] = run.elapsed_time
    row["total_tokens"] = run.total_tokens
    row["total_steps"] = run.total_steps
    row["created_at"] = run.created_at
    row["finished_at"] = run.finished_at
    row["exceptions_count"] = run.exceptions_count
    return row


def service_run(run: SimulatedRun, release: Release) -> Json:
    """Return the service API's run detail; ``inputs`` is a JSON text, ``outputs`` one until 1.12.x."""
    outputs = run.content.outputs(run)
    return {
        "id": run.id,
        "workflow_id": run.workflow_id,
        "status": run.status,
        "inputs": json.dumps(run.content.inputs(run)),
        "outputs": (outputs or {}) if release.gives_outputs_as_object else _as_text(outputs),
        "error": run.error,
        "total_steps": run.total_steps,
        "total_tokens": run.total_tokens,
        "created_at": run.created_at,
        "finished_at": run.finished_at,
        "elapsed_time": run.elapsed_time,
    }


def ended_run(run: SimulatedRun) -> Json:
    """Return what whoever starts a run is told at its end; ``outputs`` is an object in every release."""
    return {
        "id": run.id,
        "workflow_id": run.workflow_id,
        "status": run.status,
        "outputs": run.content.outputs(run) or {},
        "error": run.error,
        "elapsed_time": run.elapsed_time,
        "total_tokens": run.total_tokens,
        "total_steps": run.total_steps,
        "created_at": run.created_at,
        "finished_at": run.finished_at,
    }


def _as_text(outputs: Json | None) -> str | None:
    return None if outputs is None else json.dumps(outputs)


def console_run(run: SimulatedRun) -> Json:
    """Return the console's run detail, with a canvas of the nodes that ran."""
    return {
        "id": run.id,
        "version": run.version,
        "graph": _graph(run),
        "inputs": run.content.inputs(run),
        "status": run.status,
        "outputs": run.content.outputs(run) or {},
        "error": run.error,
        "elapsed_time": run.elapsed_time,
        "total_tokens": run.total_tokens,
        "total_steps": run.total_steps,
        **author_fields(run.author),
        "created_at": run.created_at,
        "finished_at": run.finished_at,
        "exceptions_count": run.exceptions_count,
    }


def _graph(run: SimulatedRun) -> Json:
    nodes = [
        {"id": node["node_id"], "type": "custom", "data": {"type": node["node_type"], "title": node["title"]}}
        for node in run.content.nodes(run)
    ]
    edges = [
        {"id": f"{one['id']}-{other['id']}", "source": one["id"], "target": other["id"], "type": "custom"}
        for one, other in pairwise(nodes)
    ]
    return {"edges": edges, "nodes": nodes, "viewport": {"x": 0, "y": 0, "zoom": 1}}


def cursor_row(run: SimulatedRun) -> Json:
    """Return a row of the console's ``workflow-runs``."""
    return {
        "id": run.id,
        "version": run.version,
        "status": run.status,
        "elapsed_time": run.elapsed_time,
        "total_tokens": run.total_tokens,
        "total_steps": run.total_steps,
        "created_by_account": author_fields(run.author)["created_by_account"],
        "created_at": run.created_at,
        "finished_at": run.finished_at,
        "exceptions_count": run.exceptions_count,
        "retry_index": None,
    }


def node_rows(run: SimulatedRun, release: Release) -> list[Json]:
    """Return the node executions; their ``index`` is always 1 before nodes were counted."""
    nodes = run.content.nodes(run)
    return list(nodes) if release.counts_nodes else [{**node, "index": 1} for node in nodes]


_ICON: Json = {"icon_type": "emoji", "icon": "🤖", "icon_background": "#FFEAD5"}
_LOOK: Json = {"chat_color_theme": None, "chat_color_theme_inverted": False}


def app_row(app: SimulatedApp, release: Release) -> Json:
    """Return a row of the console's app list."""
    row: Json = {
        "id": app.id,
        "name": app.name,
        "max_active_requests": None,
        "description": app.description,
        "mode": app.mode,
        **_ICON,
        "model_config": None,
        "workflow": _workflow_of(app),
        "use_icon_as_answer_icon": False,
        **_stamps(app),
        "tags": [],
        "access_mode": None,
        "create_user_name": None,
        "author_name": credentials.ACCOUNT_NAME,
        "icon_url": None,
    }
    return {**row, "has_draft_trigger": False} if release.flags_draft_trigger else row


def app_detail(app: SimulatedApp) -> Json:
    """Return the console's app detail."""
    return {
        "id": app.id,
        "name": app.name,
        "description": app.description,
        "mode": app.mode,
        **_ICON,
        "enable_site": True,
        "enable_api": app.enable_api,
        "model_config": None,
        "workflow": _workflow_of(app),
        "tracing": None,
        "use_icon_as_answer_icon": False,
        **_stamps(app),
        "access_mode": None,
        "tags": [],
        "api_base_url": "http://127.0.0.1/v1",
        "max_active_requests": None,
        "deleted_tools": [],
        "site": _console_site(app),
        "icon_url": None,
    }


def _workflow_of(app: SimulatedApp) -> Json:
    return {
        "id": app.id,
        "created_by": credentials.ACCOUNT_ID,
        "created_at": app.created_at,
        "updated_by": None,
        "updated_at": app.created_at,
    }


def _stamps(app: SimulatedApp) -> Json:
    return {
        "created_by": credentials.ACCOUNT_ID,
        "created_at": app.created_at,
        "updated_by": credentials.ACCOUNT_ID,
        "updated_at": app.created_at,
    }


def _console_site(app: SimulatedApp) -> Json:
    return {
        "access_token": "simulated",
        "code": "simulated",
        **site_of(app),
        "customize_domain": None,
        "customize_token_strategy": "not_allow",
        "prompt_public": False,
        "app_base_url": "http://127.0.0.1",
        **_stamps(app),
    }


def site_of(app: SimulatedApp) -> Json:
    """Return ``/v1/site``."""
    return {
        "title": app.name,
        **_LOOK,
        **_ICON,
        "description": None,
        "copyright": None,
        "privacy_policy": None,
        "custom_disclaimer": "",
        "default_language": "en-US",
        "show_workflow_steps": True,
        "use_icon_as_answer_icon": False,
        "icon_url": None,
    }


def info_of(app: SimulatedApp) -> Json:
    """Return ``/v1/info``."""
    return {
        "name": app.name,
        "description": app.description,
        "tags": [],
        "mode": app.mode,
        "author_name": credentials.ACCOUNT_NAME,
    }


def parameters_of(app: SimulatedApp) -> Json:
    """Return ``/v1/parameters``; a workflow takes a query, a chatflow a language."""
    off: Json = {"enabled": False}
    return {
        "opening_statement": "",
        "suggested_questions": [],
        "suggested_questions_after_answer": off,
        "speech_to_text": off,
        "text_to_speech": {**off, "language": "", "voice": ""},
        "retriever_resource": {"enabled": True},
        "annotation_reply": off,
        "more_like_this": off,
        "user_input_form": _form(app),
        "sensitive_word_avoidance": off,
        "file_upload": off,
        "system_parameters": {
            "image_file_size_limit": 10,
            "video_file_size_limit": 100,
            "audio_file_size_limit": 50,
            "file_size_limit": 15,
            "workflow_file_upload_limit": 10,
        },
    }


def _form(app: SimulatedApp) -> list[Json]:
    kinds = {"query": "paragraph"} if app.mode == "workflow" else {"lang": "text-input"}
    return [
        {
            kind: {
                "label": name,
                "variable": name,
                "type": kind,
                "required": False,
                "max_length": 200,
                "options": [],
            }
        }
        for name, kind in kinds.items()
    ]
