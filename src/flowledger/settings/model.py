"""Everything that can be set, typed; the names of all variables; and the options of the record services."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AliasGenerator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from flowledger.errors import SettingsError, UsageError
from flowledger.settings.apps import APP_DEFAULTS, AppSettings
from flowledger.settings.options import ChannelSettings, storage_options, with_variable_channels
from flowledger.settings.references import secrets_in
from flowledger.settings.types import (
    AddressingStyle,
    AllowedHosts,
    AtLeastOne,
    BaseUrl,
    BucketName,
    CaBundle,
    ChannelTypes,
    Concurrency,
    Endpoint,
    EnvironmentName,
    Folder,
    FolderName,
    Formats,
    Frozen,
    Host,
    HttpUrl,
    Language,
    LogLevel,
    LogTargets,
    MailAddress,
    MailSecurity,
    Megabytes,
    NotEmpty,
    Origins,
    Password,
    Port,
    Prefix,
    Receivers,
    RecordStorage,
    ReportAgain,
    RetryMinutes,
    Rotation,
    RunLimit,
    Seconds,
    SecretAddress,
    StorageType,
    TaskRunner,
    Token,
    Unchecked,
    Words,
    WorkflowSecrets,
    WorkflowsInPrefect,
    ZoneName,
)
from flowledger.settings.validators import check_ledger_url


def _ledger_beside(data: dict[str, Any]) -> SecretStr:
    return SecretStr(f"sqlite:///{data['output_base_dir']}/ledger.db")


def _logs_beside(data: dict[str, Any]) -> Path:
    return Path(data["output_base_dir"]) / "logs"


def _records_beside(data: dict[str, Any]) -> Path:
    return Path(data["output_base_dir"]) / "data/logs"


class Settings(Frozen, BaseSettings):
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
    flowledger_secret_key: Password | None = None
    flowledger_secret_key_file: Folder | None = None
    dify_base_url: Unchecked = None
    dify_api_token: Unchecked = None
    dify_app_id: Unchecked = None
    dify_app_name: Unchecked = None
    dify_console_email: Unchecked = None
    dify_console_password: Unchecked = None
    dify_console_token: Unchecked = None
    dify_admin_api_key: Unchecked = None
    dify_workspace_id: Unchecked = None
    dify_switch_workspace: bool = False
    dify_ca_bundle: CaBundle | None = None
    dify_max_concurrency: Concurrency = 32
    dify_request_deadline_s: Seconds = 60
    dify_max_answer_mb: Megabytes = 64
    coze_base_url: BaseUrl = "https://api.coze.cn"
    coze_api_token: Token | None = None
    output_base_dir: Folder = Path("outputs")
    ledger_url: Annotated[SecretStr, AfterValidator(check_ledger_url)] = Field(default_factory=_ledger_beside)
    timezone: ZoneName = "Asia/Shanghai"
    report_language: Language = "zh"
    report_formats: Formats = ("csv",)
    csv_raw_values: bool = False
    markdown_details: bool = True
    report_retention_days: AtLeastOne | None = None
    report_retention_count: AtLeastOne | None = None
    report_retention_mb: AtLeastOne | None = None
    run_retention_days: RunLimit | None = None
    run_retention_count: RunLimit | None = None
    run_retention_mb: RunLimit | None = None
    stuck_after_hours: AtLeastOne = 24
    certificate_max_age_hours: Annotated[int, Field(ge=1, le=8784)] = 24
    catch_up_periods: Annotated[int, Field(ge=0, le=366)] = 7
    retry_minutes: RetryMinutes = (1, 5, 15, 30)
    report_again: ReportAgain = "announce"
    storage_type: StorageType = "local"
    storage_prefix: Prefix = ""
    link_hours: Annotated[int, Field(ge=1, le=168)] = 72
    s3_endpoint: HttpUrl | None = None
    s3_region: NotEmpty | None = None
    s3_bucket_name: BucketName | None = None
    s3_access_key_id: Password | None = None
    s3_secret_access_key: Password | None = None
    s3_addressing_style: AddressingStyle = "auto"
    oss_endpoint: Endpoint | None = None
    oss_access_key_id: Password | None = None
    oss_access_key_secret: Password | None = None
    oss_bucket_name: BucketName | None = None
    notification_enabled: bool = True
    notification_type: ChannelTypes | None = None
    notification_attach_mb: Annotated[float, Field(ge=0, le=100)] = 10
    smtp_host: Host | None = None
    smtp_port: Port = 587
    smtp_user: NotEmpty | None = None
    smtp_password: Password | None = None
    smtp_sender: MailAddress | None = None
    smtp_to: Receivers | None = None
    smtp_security: MailSecurity = "starttls"
    smtp_insecure_login: bool = False
    dingtalk_webhook: SecretAddress | None = None
    dingtalk_secret: Password | None = None
    dingtalk_at: Words = ()
    wechat_webhook: SecretAddress | None = None
    wechat_at: Words = ()
    feishu_webhook: SecretAddress | None = None
    feishu_secret: Password | None = None
    feishu_at: Words = ()
    webhook_url: SecretAddress | None = None
    webhook_secret: Password | None = None
    template_dir: Folder = Path("config/templates")
    log_level: LogLevel = "INFO"
    log_target: LogTargets = ("file",)
    log_dir: Folder = Field(default_factory=_logs_beside)
    log_rotation: Rotation = "00:00"
    log_retention_days: AtLeastOne = 30
    records_storage_type: RecordStorage = "ledger"
    records_log_dir: Folder = Field(default_factory=_records_beside)
    records_execution_dir: FolderName = "workflow_executions"
    records_operation_dir: FolderName = "workflow_operations"
    records_max_entries: AtLeastOne = 1000
    records_execution_logging: bool = True
    records_operation_logging: bool = True
    records_retention_days: AtLeastOne = 90
    records_max_mb: Megabytes = 16
    records_legacy_dir: Folder | None = None
    api_host: Host = "127.0.0.1"
    api_port: Port = 8001
    api_public_url: HttpUrl | None = None
    api_cors_origins: Origins = ()
    api_max_body_kb: Annotated[int, Field(ge=1, le=1_048_576)] = 1024
    api_requests_per_minute: AtLeastOne = 6000
    workflows_allowed_hosts: AllowedHosts = ()
    workflow_secrets: WorkflowSecrets = Field(default={}, validate_default=True)
    workflows_in_prefect: WorkflowsInPrefect = "beside"
    worker_at_once: Annotated[int, Field(ge=1, le=1024)] = 32
    task_runner: TaskRunner = "threads"
    prefect_api_url: HttpUrl | None = None
    prefect_ui_url: HttpUrl | None = None
    prefect_work_pool_name: NotEmpty = "dify-workflow-pool"
    apps: tuple[AppSettings, ...] = ()
    channels: Mapping[str, ChannelSettings] = Field(default={}, validate_default=True)
    _looked_in: str = PrivateAttr(default="")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read no place here: ``open_sources`` chooses and orders them, and passes the values in."""
        return (init_settings,)

    @field_validator("apps", mode="before")
    @classmethod
    def _inherit(cls, apps: object, info: ValidationInfo) -> object:
        """Let each app take its defaults from the fields validated before."""
        if not isinstance(apps, list):
            return apps
        defaults = {own: info.data[ours] for own, ours in APP_DEFAULTS.items() if ours in info.data}
        return [{**defaults, **app} if isinstance(app, dict) else app for app in apps]

    @field_validator("channels", mode="before")
    @classmethod
    def _gather(cls, channels: object, info: ValidationInfo) -> object:
        """Put the channels that the variables describe beside those of the YAML file."""
        if not isinstance(channels, dict):
            return channels
        return with_variable_channels(channels, info.data, cls.model_fields)

    @property
    def storage_options(self) -> Mapping[str, Any]:
        """Options of the chosen storage, by field of its class; what is not set is left out."""
        return storage_options(self.storage_type, dict(self))

    def channels_of(self, app: AppSettings) -> tuple[ChannelSettings, ...]:
        """Return the channels for messages about an app; none where notifications are off."""
        if not self.notification_enabled:
            return ()
        if app.channels is not None:
            return tuple(self.channels[name] for name in app.channels if name in self.channels)
        chosen = self.notification_type
        return tuple(
            each for each in self.channels.values() if chosen is None or each.listed or each.name in chosen
        )

    def secrets(self) -> Iterator[SecretStr]:
        """Yield every configured secret, those of apps and channels included, for redaction."""
        # The DIFY_ variables are all SecretStr here; as fields of an app only the secret ones are.
        return secrets_in({name: value for name, value in self if not name.startswith("dify_")})

    def note_origin(self, folder: str) -> None:
        """Remember, for messages, in which folder the settings were looked for."""
        self._looked_in = folder

    @property
    def stuck_after(self) -> timedelta:
        """How long an unfinished run is polled before it counts as stuck."""
        return timedelta(hours=self.stuck_after_hours)

    @property
    def certificate_max_age(self) -> timedelta:
        """How long a window that was read in full is only compared, not read again."""
        return timedelta(hours=self.certificate_max_age_hours)

    def app(self, name_or_id: str | None = None) -> AppSettings:
        """Return the app of a name or id; None means the only one.

        :raises UsageError: with the names of all apps, where there is none or not exactly one.
        """
        if name_or_id is None:
            matching = self.apps
        else:
            matching = tuple(app for app in self.apps if name_or_id in (app.name, app.id))
        if len(matching) == 1:
            return matching[0]
        names = ", ".join(f"{app.name} ({app.id})" for app in self.apps)
        if not self.apps:
            raise UsageError(
                "no app is configured: set DIFY_BASE_URL, DIFY_API_TOKEN and DIFY_APP_ID in .env"
                + (f"; settings were looked for in {self._looked_in}" if self._looked_in else "")
            )
        if name_or_id is None:
            raise UsageError(f"several apps are configured, say which one (--app): {names}")
        raise UsageError(f"unknown app {name_or_id!r}: one of {names}")


APP_VARIABLES: Mapping[str, str] = {
    "DIFY_BASE_URL": "base_url",
    "DIFY_API_TOKEN": "api_token",
    "DIFY_APP_ID": "id",
    "DIFY_APP_NAME": "name",
    "DIFY_CONSOLE_EMAIL": "console_email",
    "DIFY_CONSOLE_PASSWORD": "console_password",
    "DIFY_CONSOLE_TOKEN": "console_token",
    "DIFY_ADMIN_API_KEY": "admin_api_key",
    "DIFY_WORKSPACE_ID": "workspace_id",
}
"""Variable → field of ``AppSettings``: together they define one app."""

PROGRAM_VARIABLES: Mapping[str, str] = {
    name.upper(): name for name in Settings.model_fields if name not in ("apps", "channels")
}
"""Variable → field of ``Settings``."""

VARIABLES = frozenset(PROGRAM_VARIABLES)

HINTS: Mapping[str, str] = {
    "base_url": "address of your Dify, such as https://dify.example.com",
    "api_token": "API key of the app, Dify → app → API access",
    "id": "id of the app, the part after /app/ in its address in Dify",
    "console_email": "the console needs e-mail and password",
    "console_password": "the console needs e-mail and password",
    "workspace_id": "the admin API key needs the id of the workspace",
}
"""Field of ``AppSettings`` → what it is and where to find it."""

OPTION_HINTS: Mapping[str, str] = {
    "host": "mail server, such as smtp.example.com",
    "to": "addresses of the receivers",
    "webhook": "address of the robot, from the settings of the chat group",
    "url": "address that takes the messages",
    "type": "email, dingtalk, wechat, feishu or webhook",
}
"""Option of a channel → what it is."""


_RECORD_SETTINGS: Mapping[str, str] = {
    "storage_type": "records_storage_type",
    "log_dir": "records_log_dir",
    "workflow_execution_dir": "records_execution_dir",
    "workflow_operation_dir": "records_operation_dir",
    "max_log_entries": "records_max_entries",
    "enable_operation_logging": "records_operation_logging",
    "enable_execution_logging": "records_execution_logging",
    "log_retention_days": "records_retention_days",
    "max_record_mb": "records_max_mb",
    "legacy_dir": "records_legacy_dir",
    "timezone": "timezone",
    "ledger_url": "ledger_url",
}
"""Option → the field of ``Settings`` that it comes from."""


class RecordOptions(Frozen):
    """Options of ``LogService`` and ``ExecutionHistoryService`` by their own names; folders are absolute.

    ``timezone`` is that of times without one.
    """

    storage_type: NotEmpty
    log_dir: Folder
    workflow_execution_dir: FolderName
    workflow_operation_dir: FolderName
    max_log_entries: AtLeastOne
    enable_operation_logging: bool
    enable_execution_logging: bool
    log_retention_days: AtLeastOne
    max_record_mb: Annotated[float, Field(gt=0, le=1024)]
    legacy_dir: Folder | None
    timezone: ZoneName
    ledger_url: Annotated[SecretStr, AfterValidator(check_ledger_url)]


def record_options(settings: Settings, overrides: Mapping[str, Any]) -> RecordOptions:
    """Return the options of the record services: those of the settings, overridden by ``overrides``.

    :raises SettingsError: with a line for each that is unknown or wrong; no value is quoted.
    """
    defaults = {name: getattr(settings, field) for name, field in _RECORD_SETTINGS.items()}
    try:
        return RecordOptions(**{**defaults, **overrides})
    except ValidationError as error:
        raise SettingsError([_option_problem(detail) for detail in error.errors(include_url=False)]) from None


def _option_problem(detail: Mapping[str, Any]) -> str:
    name = ".".join(map(str, detail["loc"]))
    if detail["type"] == "extra_forbidden":
        return f"{name} is no option of the record services: one of {', '.join(_RECORD_SETTINGS)}"
    return f"{name}: {str(detail['msg']).removeprefix('Value error, ')}"
