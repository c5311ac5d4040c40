"""What a setting may be, and the typed result."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    AliasGenerator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from flowledger.domain.runs import AppKey
from flowledger.domain.windows import zone
from flowledger.errors import UsageError
from flowledger.settings.rules import (
    as_text,
    check_format,
    check_http,
    check_id,
    check_ledger_url,
    check_log_level,
    check_placeholder,
    check_secret,
    check_storage,
    check_token,
    check_zone,
    distinct,
    existing_file,
    normalise_base_url,
    rooted,
    split_words,
)

Password = Annotated[SecretStr, AfterValidator(check_secret)]
Token = Annotated[SecretStr, AfterValidator(check_secret), AfterValidator(check_token)]
BaseUrl = Annotated[str, AfterValidator(normalise_base_url)]
HttpUrl = Annotated[str, AfterValidator(check_http)]
AppId = Annotated[str, AfterValidator(check_id)]
Email = Annotated[str, AfterValidator(check_placeholder)]
ZoneName = Annotated[str, AfterValidator(check_zone)]
Language = Literal["zh", "en"]
EnvironmentName = Literal["dev", "staging", "prod"]
Formats = Annotated[
    tuple[Annotated[str, AfterValidator(check_format)], ...],
    BeforeValidator(split_words),
    AfterValidator(distinct),
    Field(min_length=1),
]
Folder = Annotated[Path, AfterValidator(rooted)]
CaBundle = Annotated[Path, AfterValidator(rooted), AfterValidator(existing_file)]
Concurrency = Annotated[int, Field(ge=1, le=128)]
Seconds = Annotated[float, Field(gt=0, le=3600)]
Given = Annotated[SecretStr | None, BeforeValidator(as_text), Field(repr=False)]
"""As it was given, checked where it is used."""

APP_DEFAULTS = {
    "timezone": "timezone",
    "language": "report_language",
    "formats": "report_formats",
    "ca_bundle": "dify_ca_bundle",
    "max_concurrency": "dify_max_concurrency",
    "request_deadline_s": "dify_request_deadline_s",
}
"""Field of ``AppSettings`` → field of ``Settings`` that it takes when the app says nothing itself."""


class _Frozen(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        str_strip_whitespace=True,
        validate_default=True,
    )


class AppSettings(_Frozen):
    """One monitored app: where it is, how to get in, and how its reports look.

    ``base_url`` has no trailing slash and no ``/v1``.  Times of its reports and periods are in ``timezone``.
    At most one way into the console is set: e-mail and password, a token, or the admin key and workspace.
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
    ca_bundle: CaBundle | None = None
    timezone: ZoneName = "Asia/Shanghai"
    language: Language = "zh"
    formats: Formats = ("csv",)
    max_concurrency: Concurrency = 32
    request_deadline_s: Seconds = 60

    @property
    def key(self) -> AppKey:
        """Its key in the ledger."""
        return AppKey(self.source, self.id)

    @property
    def tz(self) -> ZoneInfo:
        """Its time zone."""
        return zone(self.timezone)


def _ledger_beside(given: dict[str, Any]) -> SecretStr:
    return SecretStr(f"sqlite:///{given['output_base_dir']}/ledger.db")


def _logs_beside(given: dict[str, Any]) -> Path:
    return Path(given["output_base_dir"]) / "logs"


class Settings(_Frozen, BaseSettings):
    """Everything that can be set; a field ``x_y`` is the variable ``X_Y``, ``apps`` are the monitored apps.

    Folders are absolute.  ``ledger_url`` may hold a password, so it is a secret.  The app that
    ``dify_base_url`` and the like define is the first of ``apps``; there its values are checked.
    """

    model_config = SettingsConfigDict(
        alias_generator=AliasGenerator(validation_alias=str.upper),
        case_sensitive=True,
        enable_decoding=False,
    )

    flowledger_env: EnvironmentName | None = None
    dify_base_url: Given = None
    dify_api_token: Given = None
    dify_app_id: Given = None
    dify_app_name: Given = None
    dify_console_email: Given = None
    dify_console_password: Given = None
    dify_console_token: Given = None
    dify_admin_api_key: Given = None
    dify_workspace_id: Given = None
    output_base_dir: Folder = Path("outputs")
    storage_type: Annotated[str, AfterValidator(check_storage)] = "local"
    ledger_url: Annotated[SecretStr, AfterValidator(check_ledger_url)] = Field(default_factory=_ledger_beside)
    timezone: ZoneName = "Asia/Shanghai"
    report_language: Language = "zh"
    report_formats: Formats = ("csv",)
    stuck_after_hours: Annotated[int, Field(ge=1)] = 24
    dify_ca_bundle: CaBundle | None = None
    dify_max_concurrency: Concurrency = 32
    dify_request_deadline_s: Seconds = 60
    log_level: Annotated[str, AfterValidator(check_log_level)] = "INFO"
    log_dir: Folder = Field(default_factory=_logs_beside)
    log_retention_days: Annotated[int, Field(ge=1)] = 30
    prefect_api_url: HttpUrl | None = None
    prefect_work_pool_name: Annotated[str, Field(min_length=1)] = "dify-workflow-pool"
    oss_endpoint: Given = None
    oss_access_key_id: Given = None
    oss_access_key_secret: Given = None
    oss_bucket_name: Given = None
    notification_enabled: Given = None
    notification_type: Given = None
    smtp_host: Given = None
    smtp_port: Given = None
    smtp_user: Given = None
    smtp_password: Given = None
    smtp_to: Given = None
    dingtalk_webhook: Given = None
    apps: tuple[AppSettings, ...] = ()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what is given and nothing else: ``open_sources`` chooses and orders the places."""
        return (init_settings,)

    @field_validator("apps", mode="before")
    @classmethod
    def _inherit(cls, apps: object, info: ValidationInfo) -> object:
        """Let each app take what it leaves unsaid from the valid fields before."""
        if not isinstance(apps, list):
            return apps
        defaults = {own: info.data[ours] for own, ours in APP_DEFAULTS.items() if ours in info.data}
        return [{**defaults, **app} if isinstance(app, dict) else app for app in apps]

    @property
    def stuck_after(self) -> timedelta:
        """How long an unfinished run is polled before it counts as stuck."""
        return timedelta(hours=self.stuck_after_hours)

    def app(self, name_or_id: str | None = None) -> AppSettings:
        """Give the app of a name or id; None means the only one.

        :raises UsageError: with the known apps, where that is none or not exactly one.
        """
        if name_or_id is None:
            matching = self.apps
        else:
            matching = tuple(app for app in self.apps if name_or_id in (app.name, app.id))
        if len(matching) == 1:
            return matching[0]
        known = ", ".join(f"{app.name} ({app.id})" for app in self.apps)
        if not self.apps:
            raise UsageError(
                "no app is configured: set DIFY_BASE_URL, DIFY_API_TOKEN and DIFY_APP_ID in .env"
            )
        if name_or_id is None:
            raise UsageError(f"several apps are configured, say which one: {known}")
        raise UsageError(f"unknown app {name_or_id!r}: one of {known}")
