"""``fetch-workflow-logs``: the old script's command line, files and texts, on today's services."""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from pydantic import SecretStr

from flowledger import bootstrap
from flowledger.cli.main import show_defect, warnings_on_stderr
from flowledger.dify.credentials import ConsoleToken, Credentials, EmailPassword
from flowledger.dify.fetcher import WorkflowLogFetcher
from flowledger.domain.certificates import Scope
from flowledger.domain.run_filters import FilterSplit, RunFilter
from flowledger.domain.runs import AppKey, Level
from flowledger.domain.windows import LIST_DELAY, Window, parse_instant, zone
from flowledger.errors import AuthenticationError, FlowledgerError, SourceRefusedError, UsageError
from flowledger.io.encoding import restart_in_utf8
from flowledger.io.json_text import loads
from flowledger.io.scratch_folders import scratch_folder
from flowledger.ports import Ledger, SilentProgress
from flowledger.reports import old_script
from flowledger.reports.rows import DEFAULT_LIMIT, Paging, Row, raw_row
from flowledger.services.collect import Collector, newest_runs
from flowledger.services.enrich import Enricher
from flowledger.services.log_files import restrict_umask
from flowledger.services.secret_masking import redacted, register_secrets

MOST_ROWS = 100
EXIT_INTERRUPTED = 130
STATUSES = ("succeeded", "failed", "stopped", "partial-succeeded")
UTC_ZONE = zone("UTC")
EPOCH = datetime.fromtimestamp(0, UTC)
OPTIONS: Mapping[str, str] = {
    f"DIFY_{name}": f"--{name.lower().replace('_', '-')}"
    for name in ("BASE_URL", "API_TOKEN", "APP_ID", "CONSOLE_EMAIL", "CONSOLE_PASSWORD", "CONSOLE_TOKEN")
}
"""Setting → option: messages name what its caller can change."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the old command line; exits 0 fine, 1 with ``错误:`` on standard output, 2 from argparse."""
    if arguments is None:
        restart_in_utf8()
    options = parser().parse_args(arguments)
    register_secrets(
        text for text in (options.api_token, options.console_token, options.console_password) if text
    )
    restrict_umask()
    sys.excepthook = show_defect
    try:
        check(options)
        # The old script's callers parse standard output: warnings go elsewhere.
        with warnings_on_stderr():
            fetch(options)
    except OptionError as error:
        print(redacted(f"错误: {error}"))
        sys.exit(1)
    except FlowledgerError as error:
        print(redacted(f"❌ 错误: {_message_of(error)}"))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


class OptionError(UsageError):
    """An option's value cannot be used; said the way the old script did."""


def parser() -> argparse.ArgumentParser:
    """Build the old script's options, in its order."""
    build = argparse.ArgumentParser(
        prog="fetch_workflow_logs.py", description="获取 Dify 工作流执行日志", allow_abbrev=True
    )
    add = build.add_argument
    add("--api-token", required=True, help="应用的 API Token（app-…）")
    add("--base-url", required=True, help="Dify 地址，如 https://dify.example.com/v1")
    add("--keyword", help="搜索关键词")
    add("--status", choices=STATUSES, help="状态")
    add("--before", dest="created_at_before", help="此时间之前（ISO 8601，含）")
    add("--after", dest="created_at_after", help="此时间之后（ISO 8601，含）")
    add("--end-user-session-id", dest="created_by_end_user_session_id", help="终端用户会话 ID")
    add("--account", dest="created_by_account", help="账户邮箱")
    add("--page", type=int, default=1, help="页码，默认 1")
    add("--limit", type=int, default=DEFAULT_LIMIT, help="每页数量 1-100，默认 20")
    add("--output", "-o", help="保存为 JSON 文件")
    add("--output-md", help="保存为 Markdown 文件")
    add("--output-csv-dir", help="CSV 报告目录（自动获取详细信息）")
    add("--format", choices=["table", "json"], default="table", help="控制台输出格式")
    add("--fetch-all", action="store_true", help="获取所有日志")
    add("--max-pages", type=int, help="最多获取的页数（仅与 --fetch-all 一起使用）")
    add("--with-details", action="store_true", help="获取每次运行的详细信息")
    add("--with-node-executions", action="store_true", help="获取节点执行详情（需要控制台权限）")
    add("--console-token", help="控制台 Token")
    add("--console-email", help="控制台邮箱")
    add("--console-password", help="控制台密码")
    add("--app-id", help="应用 ID")
    return build


def check(options: argparse.Namespace) -> None:
    """Refuse values before anything is sent.

    :raises OptionError: in the old script's words.
    """
    if not 1 <= options.limit <= MOST_ROWS:
        raise OptionError("--limit 必须在 1-100 之间")
    if options.page < 1:
        raise OptionError("--page 必须大于 0")
    if options.max_pages is not None and options.max_pages < 1:
        raise OptionError("--max-pages 必须大于 0")
    if options.with_node_executions and not _has_console(options):
        raise OptionError(
            "使用 --with-node-executions 时必须提供 --console-token 或 --console-email + --console-password"
        )


def _has_console(options: argparse.Namespace) -> bool:
    return bool(options.console_token or (options.console_email and options.console_password))


def fetch(options: argparse.Namespace) -> None:
    """Fetch what was asked for and write it where it was asked to go."""
    with (
        scratch_folder() as scratch,
        open_source(options) as source,
        bootstrap.open_ledger_at(f"sqlite:///{scratch}/ledger.db") as ledger,
    ):
        if options.with_node_executions:
            _log_in(source, options)
        if options.app_id:
            source.check_app()
        if options.created_by_account:
            source.check_account(options.created_by_account)
        fetched = _Fetch(options, source, ledger).run()
        if not fetched.paging.records:
            # An app of another kind has an empty list for ever.
            source.check_kind()
        _write(options, fetched)


def open_source(options: argparse.Namespace) -> AbstractContextManager[WorkflowLogFetcher]:
    """Open the app that the options name; the console only where node executions are asked for."""
    credentials: Credentials | None = None
    if options.with_node_executions and options.console_token:
        credentials = ConsoleToken(SecretStr(options.console_token))
    elif options.with_node_executions:
        credentials = EmailPassword(options.console_email, SecretStr(options.console_password))
    return bootstrap.open_dify(
        AppKey("dify", options.app_id or ""),
        name=options.app_id or "--api-token",
        base_url=options.base_url,
        api_token=SecretStr(options.api_token),
        credentials=credentials,
        # The old files have each run's detail as the server gives it, not rebuilt from node executions.
        always_state=True,
    )


def _log_in(source: WorkflowLogFetcher, options: argparse.Namespace) -> None:
    if not source.app.app_id:
        source.find_app_id()
    if options.console_email and not options.console_token:
        source.log_in()
        print(f"✅ 已自动获取 Console Token (用户: {options.console_email})")


@dataclass(frozen=True, slots=True)
class _Fetched:
    """Rows in the scratch ledger that can be read again and again, and what the summary says of them."""

    ledger: Ledger
    scope: Scope
    local: RunFilter
    paging: Paging
    bounds: slice
    with_details: bool
    with_nodes: bool

    def rows(self) -> Iterator[Row]:
        """Yield the rows as the old script had them, newest first."""
        entries = filter(self.local.matches, self.ledger.entries(self.scope))
        for entry in islice(entries, self.bounds.start, self.bounds.stop):
            yield raw_row(entry, loads, with_details=self.with_details, with_nodes=self.with_nodes)


@dataclass(frozen=True, slots=True)
class _Fetch:
    """Collects and enriches in a scratch ledger, which keeps memory flat whatever is asked for."""

    options: argparse.Namespace
    source: WorkflowLogFetcher
    ledger: Ledger

    def run(self) -> _Fetched:
        options, split = self.options, self.source.split(_run_filter(self.options))
        if options.fetch_all:
            print("正在获取所有日志...")
        if split.local or (options.fetch_all and not options.max_pages):
            scope, paging = self._collect(split), None
        else:
            scope, paging = self._collect_newest(split.remote)
        details = options.with_details or bool(options.output_csv_dir)
        if details or options.with_node_executions or split.local.needs_detail:
            self._enrich(scope)
        bounds = slice(None) if paging else self._bounds()
        paging = paging or self._count(scope, split.local, bounds)
        return _Fetched(
            self.ledger, scope, split.local, paging, bounds, details, options.with_node_executions
        )

    def _collect(self, split: FilterSplit) -> Scope:
        """Everything between the bounds, by the walk: page numbers would lose rows."""
        collector = Collector(self.source, self.ledger, bootstrap.clock.utc_now, SilentProgress())
        certificate = collector.collect(self._window(), split)
        if not certificate.certified:
            print(f"⚠️  {certificate.reason}", file=sys.stderr)
        return certificate.scope

    def _collect_newest(self, remote: Mapping[str, str]) -> tuple[Scope, Paging]:
        """The one page asked for, or the newest so many rows."""
        options, window = self.options, self._window()
        if options.fetch_all:
            most = options.limit * options.max_pages
            runs = list(newest_runs(self.source, window, remote, most))
            total = self.source.page(window, remote, limit=1).total
            paging = Paging(total=len(runs), records=len(runs), has_more=total > len(runs))
        else:
            page = self.source.page(window, remote, page=options.page, limit=options.limit)
            if page.problem:
                print(f"⚠️  Dify {page.problem}", file=sys.stderr)
            runs = list(page.rows)
            paging = Paging(page.total, len(runs), options.page, options.limit, page.has_more)
        scope = Scope(self.source.app, window, query=f"page={options.page}&limit={options.limit}")
        self.ledger.save_runs(runs, scope=scope, at=bootstrap.clock.utc_now())
        return scope, paging

    def _enrich(self, scope: Scope) -> None:
        print("正在获取详细信息...")
        level = Level.NODES if self.options.with_node_executions else Level.RUN
        progress = CounterProgress(self.ledger.count(scope))
        Enricher(self.source, self.ledger, bootstrap.clock.utc_now, progress).enrich(scope, level)
        progress.finish()
        print(f"✅ 已处理 {self.ledger.count(scope)} 条日志")

    def _bounds(self) -> slice:
        options = self.options
        if options.fetch_all:
            return slice(0, options.limit * options.max_pages if options.max_pages else None)
        return slice((options.page - 1) * options.limit, options.page * options.limit)

    def _count(self, scope: Scope, local: RunFilter, bounds: slice) -> Paging:
        total = sum(1 for entry in self.ledger.entries(scope) if local.matches(entry))
        listed = len(range(*bounds.indices(total)))
        if self.options.fetch_all:
            return Paging(total=listed, records=listed, has_more=total > listed)
        has_more = total > self.options.page * self.options.limit
        return Paging(total, listed, self.options.page, self.options.limit, has_more)

    def _window(self) -> Window:
        after, before = self.options.created_at_after, self.options.created_at_before
        latest = self.source.now() - LIST_DELAY
        end = min(parse_instant(before, UTC_ZONE), latest) if before else latest
        return Window.between(parse_instant(after, UTC_ZONE) if after else EPOCH, end)


def _run_filter(options: argparse.Namespace) -> RunFilter:
    return RunFilter(
        status=options.status,
        keyword=options.keyword,
        session_id=options.created_by_end_user_session_id,
        account=options.created_by_account,
    )


@dataclass(slots=True)
class CounterProgress:
    """The old script's counter, on standard error, so that standard output stays clean."""

    total: int
    steps: int = 0

    def stage(self, name: str, total: int | None) -> None:
        """Begin a stage; the counter knows its total already."""

    def note(self, text: str) -> None:
        """Write a note."""
        print(text, file=sys.stderr)

    def advance(self, steps: int = 1) -> None:
        """So many runs further."""
        self.steps += steps
        print(f"\r  处理日志 {self.steps}/{self.total}...", end="", file=sys.stderr, flush=True)

    def finish(self) -> None:
        """End the line."""
        print(file=sys.stderr)


def _write(options: argparse.Namespace, fetched: _Fetched) -> None:
    """Write to the one place that wins: CSV directory, Markdown, JSON file, console."""
    if options.output_csv_dir:
        _write_csv(Path(options.output_csv_dir), options.output_csv_dir, fetched)
    elif options.output_md:
        count = old_script.save_markdown(
            Path(options.output_md),
            fetched.rows(),
            fetched.paging,
            generated_at=bootstrap.clock.utc_now(),
            tz=None,
        )
        print(f"✅ Markdown 报告已保存到: {options.output_md}")
        print(f"   总记录数: {count}")
        print(f"   包含详细信息: {'是' if fetched.with_details or fetched.with_nodes else '否'}")
    elif options.output:
        before, after = _outer_keys(options, fetched.paging)
        count = old_script.save_json(Path(options.output), fetched.rows(), before=before, after=after)
        print(f"✅ 日志已保存到: {options.output}")
        print(f"   总记录数: {count}")
    elif options.format == "json":
        before, after = _outer_keys(options, fetched.paging)
        print(old_script.json_text(list(fetched.rows()), before=before, after=after))
    else:
        _print_table(fetched)


def _write_csv(directory: Path, directory_name: str, fetched: _Fetched) -> None:
    if next(fetched.rows(), None) is None:
        print("⚠️  没有日志数据，无法生成 CSV 报告")
        return
    files = old_script.save_csv(directory, fetched.rows(), tz=None)
    print(f"✅ CSV 报告已生成到目录: {directory_name}")
    for path in files:
        print(f"   - {path.stem.rpartition('-')[2]}: {Path(directory_name) / path.name}")


def _print_table(fetched: _Fetched) -> None:
    details = fetched.with_details or fetched.with_nodes
    print(old_script.summary_text(fetched.paging), end="")
    print(old_script.table_text(fetched.rows(), details=details, tz=None), end="")
    if details:
        print(old_script.HINT, end="")


def _outer_keys(options: argparse.Namespace, paging: Paging) -> tuple[Row, Row]:
    if options.fetch_all:
        return {"total": paging.total}, {"has_more": paging.has_more}
    one_page = {"page": paging.page, "limit": paging.limit, "total": paging.total}
    return {**one_page, "has_more": paging.has_more}, {}


def _message_of(error: FlowledgerError) -> str:
    """Return a refusal the way the old script wrote it: the status and the server's own words."""
    if isinstance(error, AuthenticationError | SourceRefusedError) and error.status:
        return f"请求失败: {error.status} - {_spaced(error.body)}"
    return re.sub(r"DIFY_\w+", lambda name: OPTIONS.get(name[0], name[0]), str(error))


def _spaced(body: str) -> str:
    """Write a JSON answer the way the old script printed it; anything else as it is."""
    try:
        spaced = json.dumps(loads(body), ensure_ascii=False)
    except ValueError:
        return body
    return spaced + body[len(body.rstrip()) :]
