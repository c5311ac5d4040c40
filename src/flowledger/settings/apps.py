"""``AppSettings``: the settings of one monitored app."""

from collections.abc import Mapping
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import Discriminator, Field, Tag

from flowledger.domain.runs import AppKey
from flowledger.domain.windows import zone
from flowledger.settings.schedules import Cron
from flowledger.settings.types import (
    AppId,
    AtLeastOne,
    BaseUrl,
    CaBundle,
    Concurrency,
    Email,
    Formats,
    Frozen,
    Language,
    Megabytes,
    NotEmpty,
    Password,
    Prefix,
    RunLimit,
    Seconds,
    Tags,
    Token,
    Words,
    ZoneName,
)


def _kind_of_schedules(value: object) -> str:
    return "crons" if isinstance(value, Mapping) else "names"


Schedules = Annotated[
    Annotated[Mapping[NotEmpty, Cron], Tag("crons")] | Annotated[Words, Tag("names")],
    Discriminator(_kind_of_schedules),
]
"""Names of entries of config/deployments.yaml, or name → cron."""

APP_DEFAULTS = {
    "timezone": "timezone",
    "language": "report_language",
    "formats": "report_formats",
    "switch_workspace": "dify_switch_workspace",
    "ca_bundle": "dify_ca_bundle",
    "max_concurrency": "dify_max_concurrency",
    "request_deadline_s": "dify_request_deadline_s",
    "max_answer_mb": "dify_max_answer_mb",
    "storage_prefix": "storage_prefix",
    "report_retention_days": "report_retention_days",
    "report_retention_count": "report_retention_count",
    "report_retention_mb": "report_retention_mb",
    "run_retention_days": "run_retention_days",
    "run_retention_count": "run_retention_count",
    "run_retention_mb": "run_retention_mb",
}
"""Field of ``AppSettings`` → field of ``Settings`` that is its default."""


class AppSettings(Frozen):
    """One monitored app: its address and credentials, when it is reported, and where its reports go.

    ``base_url`` has no trailing slash and no ``/v1``.  Times of its reports and periods are in ``timezone``.
    At most one access to the console is set: e-mail and password, a token, or admin key and workspace.
    ``schedules``: entries of config/deployments.yaml, or name → cron; None means all of them.
    ``channels``: names of channels; None means those for every app.
    ``storage_prefix`` overrides the common one; a retention of None deletes nothing.
    """

    source: Literal["dify"] = "dify"
    id: AppId
    name: Annotated[str, Field(min_length=1)] = "default"
    base_url: BaseUrl
    api_token: Token
    console_email: Email | None = None
    console_password: Password | None = None
    console_token: Token | None = None
    admin_api_key: Token | None = None
    workspace_id: AppId | None = None
    switch_workspace: bool = False
    ca_bundle: CaBundle | None = None
    timezone: ZoneName = "Asia/Shanghai"
    language: Language = "zh"
    formats: Formats = ("csv",)
    max_concurrency: Concurrency = 32
    request_deadline_s: Seconds = 60
    max_answer_mb: Megabytes = 64
    schedules: Schedules | None = None
    storage_prefix: Prefix = ""
    channels: Words | None = None
    tags: Tags = ()
    work_queue: NotEmpty | None = None
    report_retention_days: AtLeastOne | None = None
    report_retention_count: AtLeastOne | None = None
    report_retention_mb: AtLeastOne | None = None
    run_retention_days: RunLimit | None = None
    run_retention_count: RunLimit | None = None
    run_retention_mb: RunLimit | None = None

    @property
    def key(self) -> AppKey:
        """Its key in the ledger."""
        return AppKey(self.source, self.id)

    @property
    def tz(self) -> ZoneInfo:
        """Its time zone."""
        return zone(self.timezone)
