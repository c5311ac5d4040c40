"""``WorkflowLogFetcher``: one Dify app as a source of runs, by its service API and, if given, console."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any
from uuid import UUID

from loguru import logger

from flowledger import errors
from flowledger.dify import conversations, filters, list_answers, open_runs, parsing
from flowledger.dify.answers import Answer
from flowledger.dify.credentials import Release
from flowledger.dify.endpoints import PAGE_ROWS, Console, ServiceApi
from flowledger.domain.conversation_scan import Conversation, ConversationPage, MessagePage
from flowledger.domain.cursor_scan import RunCounts
from flowledger.domain.run_filters import FilterSplit, RunFilter
from flowledger.domain.runs import AppKey, Detail, Level, Missing, NodeExecution, Run, RunStatus
from flowledger.domain.windows import Window
from flowledger.ports import CursorPage, LogPage

CHATFLOW_MODES = frozenset({"advanced-chat", "chat", "agent-chat"})
MODES_WITHOUT_RUNS = frozenset({"completion", "chat", "agent-chat", "agent"})
"""Kinds of apps that no workflow runs in (docs/dify-api.md "Console")."""
CONSOLE_LISTS_APP_RUNS = Release(1, 9, 2)
"""Older consoles list and count debugging runs only (docs/dify-api.md "Console")."""
NOT_FOUND = 404
NODES_SETTLE_WITHIN = timedelta(hours=24)
"""So long after a run's end its node executions may still be written (a queue that lags behind)."""
INCOMPLETE = "node executions not complete yet"
NEVER_COMPLETE = "node executions not complete a day after the run"


@dataclass(slots=True)
class WorkflowLogFetcher:
    """Reads one app; threads may share it.  The console is optional and only used where needed.

    ``always_state`` reads the run detail even where node executions would suffice.
    """

    app: AppKey
    service: ServiceApi
    console: Console | None = None
    always_state: bool = False
    _mode: str = ""
    _title: str = ""
    _console_failure: str = ""
    _checked_run: dict[str, Answer] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        """How many HTTP requests were sent so far, retries included."""
        return self.service.session.requests

    def now(self) -> datetime:
        """Return the present by the server's Date header, to the second."""
        return self.service.session.server_now() or self._now_after_request()

    def log_in(self) -> None:
        """Log in to the console now rather than at its first use.

        :raises AuthenticationError: when it is refused.
        """
        self._required_console().login.sign_in()

    def find_app_id(self) -> None:
        """Find the app's id by its name, as the console lists it.

        :raises UsageError: when none or several apps have that name.
        """
        title = self.title()
        ids = self._ids_of(title)
        if len(ids) != 1:
            raise errors.UsageError(f"{len(ids)} apps are called {title!r}: name the app's id (--app-id)")
        self.app = AppKey(self.app.source, ids[0])

    def check_app_id(self) -> None:
        """Check that key and id belong to the same app, as the console lists it.

        :raises AuthenticationError: when the key or the log-in is refused.
        :raises UsageError: with the id of the app that the key opens.
        """
        title = self.title()
        ids = self._ids_of(title)
        if self.app.app_id not in ids:
            raise self._wrong_app(ids)

    def identity(self) -> str:
        """Return a digest of server, key and id: it changes where a check would have to be made again."""
        parts = (self.service.session.host, self.service.token.get_secret_value(), self.app.app_id)
        return blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()

    def check_app(self) -> bool:
        """Check that the app has runs and is the key's own; return False where nothing can prove it yet.

        The console proves it by its list of apps, the newest run by its ``sys.app_id``.

        :raises AuthenticationError: when the key is refused.
        :raises UsageError: when the id is another app's, or no app's, or the app has no runs at all.
        """
        self.check_kind()
        listed = self._listed_ids()
        if self.app.app_id in listed and len(listed) == 1:
            return True
        own_id = self._id_in_newest_run()
        if own_id is None:
            if self.app.app_id not in listed and (listed or not _is_uuid(self.app.app_id)):
                raise self._wrong_app(listed)
            return False
        if own_id != self.app.app_id:
            raise self._wrong_app((own_id,))
        return True

    def check_kind(self) -> None:
        """Check that workflow runs can be had of the app at all.

        :raises UsageError: when it is of another kind.
        """
        title = self.title()
        if self._mode in MODES_WITHOUT_RUNS:
            raise errors.UsageError(
                f"the key opens {title!r}, which is of the kind {self._mode}: such apps have no workflow"
                " runs; give the key and the id of a workflow or a chatflow"
            )

    def check_account(self, email: str) -> None:
        """Let Dify say whether it knows an account; up to 1.9.1, one that it does not has no rows.

        :raises SourceRefusedError: when it does not (docs/dify-api.md "The log list").
        """
        self.service.logs(None, {"created_by_account": email}, page=1, limit=1)

    def _ids_of(self, title: str) -> list[str]:
        rows = parsing.page_rows(self._required_console().apps(title), "app list")
        return [str(row["id"]) for row in rows if row.get("name") == title]  # the list matches parts of names

    def _listed_ids(self) -> Sequence[str]:
        """Return the ids of the apps of that name in the console; none where it is closed."""
        if self.console is None or self._console_failure:
            return ()
        try:
            return self._ids_of(self.title())
        except (errors.AuthenticationError, errors.SourceRefusedError, errors.RetriableError) as error:
            # The stages that follow read what they can without a console, and say why.
            logger.info("app {}: the console does not tell which app the key opens: {}", self.app, error)
            return ()

    def _id_in_newest_run(self) -> str | None:
        """Return the app's id as its newest run names it; None where no run does."""
        if not self.lists_logs():
            return None
        rows = parsing.page_rows(self.service.logs(None, {}, page=1, limit=5), f"app {self.app}")
        listed, _ = list_answers.read_rows(self.app, rows, parsing.log_run)
        runs = [run for run in listed if not run.gone]
        if not runs:
            return None
        try:
            answer = self.service.run_detail(runs[0].run_id)
        except errors.SourceRefusedError:
            return None
        stated = parsing.run_detail(answer.document, answer.place)
        if stated is None:
            return None
        if not runs[0].status.is_open:
            # Its detail is not read twice.
            self._checked_run[runs[0].run_id] = answer
        return parsing.text((parsing.mapping(stated.get("inputs")) or {}).get("sys.app_id"))

    def _wrong_app(self, ids: Sequence[str]) -> errors.UsageError:
        if not ids and self.console is not None and _is_uuid(self.app.app_id):
            # No app of that name at all: it may be the right id, and the account look elsewhere.
            reason = self.console.why_without(self.app.app_id)
            return errors.UsageError(f"the key opens {self.title()!r}; {reason}")
        return errors.UsageError(
            f"the key opens {self.title()!r}, whose id is {' or '.join(ids) or 'unknown to the console'}, not"
            f" {self.app.app_id}: set DIFY_APP_ID to the part after /app/ in the app's address in Dify;"
            " flowledger history move-app moves runs that were filed under a wrong id"
        )

    def release(self) -> Release | None:
        """Return the server's release, by a request where none is known yet; None where a fork names none."""
        session = self.service.session
        if session.release is None:
            session.get("/console/api/setup")
        return session.release

    def title(self) -> str:
        """Return the app's name in Dify."""
        if not self._title:
            self._read_mode()
        return self._title

    def split(self, query: RunFilter) -> FilterSplit:
        """Divide a filter between Dify and Flowledger; the console's list of chatflow runs takes none."""
        if query and not self.lists_logs():
            return FilterSplit(
                local=query, notes=("a chatflow's run list takes no filters: filtered by Flowledger",)
            )
        return filters.split(query)

    def lists_logs(self) -> bool:
        """Return whether the app has log rows: chatflows have none (docs/dify-api.md "The log list")."""
        if not self._mode:
            self._read_mode()
        return self._mode not in CHATFLOW_MODES

    def page(self, window: Window, remote: Mapping[str, str], *, page: int = 1, limit: int = 100) -> LogPage:
        """Read one page of the service API's log list."""
        body = self.service.logs(window, remote, page=page, limit=limit)
        answer = list_answers.log_page(self.app, body, window, remote)
        if answer.rows:
            self._mode = self._mode or "workflow"  # no other kind of app has log rows
        return answer

    def lists_runs(self) -> bool:
        """Return whether the console lists the runs of the app, not only those of the editor's preview."""
        release = self.service.session.release
        return release is None or release >= CONSOLE_LISTS_APP_RUNS

    def conversations(self, page: int) -> ConversationPage:
        """Read one page of a chatflow's conversations.

        :raises AuthenticationError: without console access; SourceRefusedError: to who may not edit the app.
        """
        return conversations.read_page(self._required_console(), self.app, page)

    def messages(self, conversation: Conversation, before: str | None) -> MessagePage:
        """Read one page of a conversation's messages; none of one that is gone."""
        return conversations.read_messages(self._required_console(), self.app, conversation, before)

    def cursor_page(self, cursor: str | None) -> CursorPage:
        """Read one page of the console's run list.

        :raises AuthenticationError: without console access.
        """
        console = self._required_console()
        try:
            body = console.workflow_runs(self.app.app_id, cursor)
        except errors.SourceRefusedError as error:
            if error.status != NOT_FOUND:
                raise
            reason = console.why_without(self.app.app_id)
            raise errors.SourceRefusedError(f"{reason}; {error}", status=NOT_FOUND) from error
        rows = parsing.page_rows(body, f"app {self.app}")
        runs, unreadable = list_answers.read_rows(self.app, rows, parsing.cursor_run)
        # The list goes on from its last row, whether that can be filed or not.
        last_id = parsing.text(rows[-1].get("id")) if rows and body.get("has_more") is True else None
        return CursorPage(runs, last_id, unreadable or list_answers.cursor_problem(body, runs, PAGE_ROWS))

    def count_since(self, second: int) -> RunCounts | None:
        """Count the app's runs since a unix time by the console; None from releases that cannot."""
        age_s = int(self.now().timestamp()) - second
        if age_s <= 0:
            return RunCounts(0)
        console = self._required_console()
        return list_answers.trusted_count(console.count(self.app.app_id, age_s))

    def unmoved(self, window: Window, runs: Sequence[Run]) -> frozenset[str] | None:
        """Return the ids of open runs that are still in their status, by the console's lists by status.

        Rows that move between pages while these are read may be missed; such a run is read by itself, at
        the cost of one request.  None where the lists cannot be had.
        """
        if self.deepest() < Level.NODES or self.console is None or not self.lists_logs():
            return None
        return open_runs.unmoved(self.console, self.app, window, runs)

    def deepest(self) -> Level:
        """Return the deepest level that can be read: node executions need the console."""
        return Level.NODES if self.console and not self._console_failure else Level.RUN

    def why_not_deeper(self) -> str:
        """Return why node executions cannot be read; empty where they can."""
        return self._console_failure if self.console else "no console access"

    def detail(self, run: Run, level: Level) -> tuple[Run, Detail]:
        """Return a run and its detail, with as few requests as are certain to be right.

        The node executions alone are enough for an ended run that they describe whole (docs/dify-api.md
        "Fewer requests").  Of an open run the state is read first, so that a run that has ended by then has
        all its nodes.

        :raises RunUnavailableError: when Dify no longer knows the run.
        """
        if run.gone:
            raise errors.RunUnavailableError("the source has deleted the run and has only its log row")
        raw: dict[str, bytes] = {}
        stated: Mapping[str, Any] | None = None
        if run.status.is_open:
            try:
                run, stated = self._read_state(run, raw)
            except errors.RunUnavailableError as error:
                if run.source_status:
                    raise
                # Only a message ever told of it, so how it stood nobody knows any more.
                return replace(run, status=RunStatus.INTERRUPTED), Missing(str(error), permanent=True)
        nodes: Sequence[NodeExecution] | Missing = Missing("not asked for")
        if level >= Level.NODES:
            run, nodes = self._read_nodes(run, raw)
        if not isinstance(nodes, Missing) and parsing.contradicts(run, nodes):
            # What is no detail is not stored as one either.
            del raw["nodes"]
            nodes = self._incomplete(run)
        if stated is None and not self._suffices(run, nodes):
            run, stated = self._read_state(run, raw)
        return run, parsing.assemble(run, nodes, stated, raw)

    def _incomplete(self, run: Run) -> Missing:
        """Return why a run has no node executions: not yet, or, when it ended too long ago, for good."""
        ended_at = run.finished_at or run.listed_at
        if self.now() - ended_at < NODES_SETTLE_WITHIN:
            return Missing(INCOMPLETE)
        return Missing(NEVER_COMPLETE, permanent=True)

    def _suffices(self, run: Run, nodes: Sequence[NodeExecution] | Missing) -> bool:
        """Return whether the list's row and the node executions hold all of a run."""
        if isinstance(nodes, Missing) or self.always_state:
            return False
        if not self.lists_logs() and not (run.creator and run.status in parsing.WITHOUT_ERROR):
            # No list tells the error of a chatflow's run (docs/dify-api.md "Console").
            return False
        return parsing.is_self_contained(run, nodes)

    def _read_state(self, run: Run, raw: dict[str, bytes]) -> tuple[Run, Mapping[str, Any]]:
        gone = errors.RunUnavailableError(
            f"app {self.app}, run {run.run_id}: the source no longer knows the run"
        )
        try:
            if run.run_id in self._checked_run:
                name, answer = "detail", self._checked_run.pop(run.run_id)
            elif self.console and not self.lists_logs():
                name, answer = "console_detail", self.console.run_detail(self.app.app_id, run.run_id)
            else:
                name, answer = "detail", self.service.run_detail(run.run_id)
        except errors.SourceRefusedError as error:
            if error.status == NOT_FOUND:
                raise gone from error
            raise
        stated = parsing.run_detail(answer.document, answer.place)
        if stated is None:
            raise gone
        if str(stated["id"]) != run.run_id:
            raise errors.SourceGarbledError(
                f"{answer.place}: the answer is about another run, {stated['id']}"
            )
        raw[name] = answer.body
        return parsing.refreshed_run(run, stated), stated

    def _read_nodes(self, run: Run, raw: dict[str, bytes]) -> tuple[Run, Sequence[NodeExecution] | Missing]:
        """Return a run's node executions, and the run with who started it, which a chatflow's row lacks."""
        if self.deepest() < Level.NODES or self.console is None:
            return run, Missing(self.why_not_deeper())
        try:
            answer = self.console.node_executions(self.app.app_id, run.run_id)
        except errors.AuthenticationError as error:
            locked = isinstance(error, errors.LoginLockedError)
            return run, self._shut_out("console login locked" if locked else "console login refused", error)
        except errors.RetriableError as error:
            if not self.console.login.given_up:
                raise
            return run, self._shut_out("console login unanswered", error)
        except errors.SourceRefusedError as error:
            if error.status == NOT_FOUND:
                # An unknown run would be an empty list (docs/dify-api.md "Node executions"): the app is
                # unknown, for every run.
                self._console_failure = self.console.why_without(self.app.app_id)
                return run, Missing(self._console_failure)
            return run, Missing(str(error))
        raw["nodes"] = answer.body
        nodes = parsing.nodes(answer.document, answer.place)
        return parsing.run_with_creator(run, answer.document["data"]), nodes

    def _shut_out(self, reason: str, error: errors.FlowledgerError) -> Missing:
        """Remember that the console is closed, so that no other run tries a failed log-in again."""
        if self._console_failure != reason:
            logger.warning("app {}: {}", self.app, error)
        self._console_failure = reason
        return Missing(reason)

    def _required_console(self) -> Console:
        if self.console is None:
            raise errors.AuthenticationError(
                f"app {self.app} is a chatflow, whose runs only the console lists: set DIFY_CONSOLE_EMAIL and"
                " DIFY_CONSOLE_PASSWORD (or DIFY_ADMIN_API_KEY and DIFY_WORKSPACE_ID)"
            )
        return self.console

    def _now_after_request(self) -> datetime:
        self._read_mode()
        return self.service.session.server_now() or datetime.now(UTC)

    def _read_mode(self) -> None:
        info = self.service.info()
        self._mode, self._title = str(info.get("mode") or "workflow"), str(info["name"])


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
