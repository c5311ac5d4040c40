"""What handlers of nodes need of the settings: calls, channels, reports, Dify, Coze; made when first used."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from loguru import logger

from flowledger.bootstrap.pipelines import run_directly
from flowledger.bootstrap.workflow_letters import workflow_notifications
from flowledger.domain.coze_runs import WorkflowOrder
from flowledger.domain.messages import Message, Notice, OutboxMessage
from flowledger.domain.workflows.definition import NodeType
from flowledger.errors import FlowledgerError
from flowledger.http.address_guard import AddressGuard
from flowledger.http.async_calls import AsyncCaller, CallOptions
from flowledger.io.own_thread import OwnThreads
from flowledger.nodes import api_call
from flowledger.nodes.coze_run import UpstreamRun, no_coze
from flowledger.nodes.dify_run import DifyApp
from flowledger.notify.service import NotificationService
from flowledger.ports import Ledger
from flowledger.services.report_requests import RunOrder
from flowledger.services.workflows.engine import Config
from flowledger.settings import AppSettings, Settings
from flowledger.workflow_ports import WorkflowStore

DELIVER_EVERY_S = 60.0
SENT_WITHIN_S = 10.0
"""At the end; what is not sent by then waits for the next worker."""


@dataclass
class NodeParts:
    """The parts of one engine; ``close`` ends the connections of the running event loop."""

    settings: Settings
    ledger: Ledger
    store: WorkflowStore
    caller: AsyncCaller = field(init=False)
    _apps: dict[str, DifyApp] = field(default_factory=dict, repr=False)
    _notifications: NotificationService | None = field(default=None, repr=False)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, repr=False)
    _kept: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    _has_kept: bool = False
    _is_closing: bool = False
    _delivering: asyncio.Task[None] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.caller = AsyncCaller(AddressGuard.of(self.settings.workflows_allowed_hosts))

    def by_field(self) -> Mapping[str, Any]:
        """Return the parts by the name of the handler's field that holds each."""
        return {
            "caller": self.caller,
            "apis": self.store.api,
            "post": self.post,
            "write": write_report,
            "dify_apps": self.dify_app,
            "prepare": self.prepare_coze,
        }

    async def complete(self, node_type: str, config: Config) -> Config:
        """Return a config with the fields of the registered API that it names, to be rendered with it."""
        # An id that is computed is known only after rendering: the node completes the config then.
        if node_type != NodeType.API_CALL or not isinstance(config.get("api_id"), int):
            return config
        return await asyncio.to_thread(api_call.complete, config, self.store.api)

    async def close(self) -> None:
        """Send what was kept last, and close all connections."""
        if self._delivering is not None:
            self._is_closing = True
            self._kept.set()
            await asyncio.wait({self._delivering}, timeout=SENT_WITHIN_S)
            self._delivering.cancel()
        for caller in (self.caller, *(app.caller for app in self._apps.values())):
            await caller.close()

    def post(self, channel: str, message: Message) -> OutboxMessage | None:
        """Store a message for a channel and try to send it; None where notifications are off.

        :raises UsageError: when there is no such channel; LedgerError: when it cannot be stored.
        """
        if not self.settings.notification_enabled:
            return None
        return self._notifying().post(channel, message)

    def keep(self, notice: Notice, channels: Sequence[str]) -> None:
        """Store the messages of a notice for channels, or for all; they are sent soon.

        :raises LedgerError: when they cannot be stored.
        """
        if self._notifying().store(notice, channels or tuple(self.settings.channels)):
            self._has_kept = True
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._kept.set)

    def begin_delivery(self, catch_up: Callable[[], object] = lambda: None) -> None:
        """Send messages that wait: new ones at once, others now and then, since their channel may be back.

        ``catch_up`` stores, now and then, what was not stored when it happened.
        """
        self._loop = asyncio.get_running_loop()
        self._delivering = asyncio.create_task(self._deliver(catch_up))

    async def _deliver(self, catch_up: Callable[[], object]) -> None:
        threads = OwnThreads("deliver", 1)
        is_new = False
        while True:
            is_last = self._is_closing
            try:
                if not is_new:
                    await asyncio.to_thread(catch_up)
                if not is_last or self._has_kept:
                    await threads.run(self.deliver_once)
            except FlowledgerError as error:
                logger.warning("messages that wait cannot be sent: {}", error)
            if is_last:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(DELIVER_EVERY_S):
                    await self._kept.wait()
            is_new = self._kept.is_set()
            self._kept.clear()

    def deliver_once(self) -> int:
        """Send the waiting messages that may be tried; return how many were sent.

        :raises LedgerError: when the ledger cannot be read.
        """
        is_waiting = self.settings.channels and self.ledger.outbox_messages(waiting=True, limit=1)
        return self._notifying().send_waiting() if is_waiting and self.settings.notification_enabled else 0

    def _notifying(self) -> NotificationService:
        if self._notifications is None:
            self._notifications = workflow_notifications(self.settings, self.ledger)
        return self._notifications

    def dify_app(self, name: str | None) -> DifyApp:
        """Return an app by name or id; None means the only one.

        :raises UsageError: with the names of all apps, where there is none or not exactly one.
        """
        app = self.settings.app(name)
        if app.id not in self._apps:
            self._apps[app.id] = DifyApp(
                app.name, app.base_url, app.api_token, _caller_of(app), app.max_answer_mb * 2**20
            )
        return self._apps[app.id]

    def prepare_coze(self, order: WorkflowOrder) -> UpstreamRun:
        """Return a run in Coze that is not begun.

        :raises UsageError: without a token of Coze.
        """
        if self.settings.coze_api_token is None:
            return no_coze(order)
        from flowledger.coze.client import CozeClient

        return CozeClient(self.settings.coze_base_url, self.settings.coze_api_token).prepare(order)


def _caller_of(app: AppSettings) -> AsyncCaller:
    """Return what sends requests to an app's server, and to no other private one: the settings name it."""
    host = urlsplit(app.base_url).hostname or ""
    options = CallOptions(
        max_bytes=app.max_answer_mb * 2**20,
        ca_bundle=str(app.ca_bundle) if app.ca_bundle else None,
    )
    return AsyncCaller(AddressGuard.of([host]), options)


def write_report(options: Mapping[str, Any], instant: datetime, run_id: str) -> Mapping[str, Any]:
    """Collect and report what options say; the settings are read anew, as for every report.

    :raises FlowledgerError: as the stages of a report do.
    """
    formats = options.get("formats")
    if isinstance(formats, list | tuple):
        options = {**options, "formats": ",".join(map(str, formats))}
    return run_directly(RunOrder(**options), instant, run_id=run_id).to_json()
