"""The types of the values of settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from flowledger.settings import addresses, validators

Password = Annotated[SecretStr, BeforeValidator(validators.as_text), AfterValidator(validators.check_secret)]
Token = Annotated[SecretStr, AfterValidator(validators.check_secret), AfterValidator(validators.check_token)]
SecretAddress = Annotated[SecretStr, AfterValidator(validators.check_web_secret)]
BaseUrl = Annotated[str, AfterValidator(addresses.check_base_url)]
HttpUrl = Annotated[str, AfterValidator(validators.check_http)]
AppId = Annotated[str, AfterValidator(validators.check_id)]
Host = Annotated[str, AfterValidator(addresses.check_host)]
MailAddress = Annotated[str, AfterValidator(addresses.check_mail_address)]
BucketName = Annotated[str, AfterValidator(addresses.check_bucket_name)]
Endpoint = Annotated[str, AfterValidator(addresses.check_endpoint)]
Email = Annotated[str, AfterValidator(validators.check_placeholder)]
ZoneName = Annotated[str, AfterValidator(validators.check_zone)]
Language = Literal["zh", "en"]
ReportAgain = Literal["announce", "quiet", "off"]
EnvironmentName = Literal["dev", "staging", "prod"]
MailSecurity = Literal["starttls", "tls", "none"]
AddressingStyle = Literal["auto", "path", "virtual"]
Formats = Annotated[
    tuple[Annotated[str, AfterValidator(validators.check_format)], ...],
    BeforeValidator(validators.split_words),
    AfterValidator(validators.distinct),
    Field(min_length=1),
]
Words = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    BeforeValidator(validators.split_words),
    AfterValidator(validators.distinct),
]
Receivers = Annotated[Words, AfterValidator(addresses.check_receivers)]
Tags = Annotated[
    tuple[Annotated[str, AfterValidator(validators.check_word)], ...],
    BeforeValidator(validators.split_words),
    AfterValidator(validators.distinct),
]
ChannelTypes = Annotated[
    tuple[Annotated[str, AfterValidator(validators.check_channel)], ...],
    BeforeValidator(validators.split_words),
    AfterValidator(validators.distinct),
]
Origins = Annotated[
    tuple[Annotated[str, AfterValidator(validators.check_origin)], ...],
    BeforeValidator(validators.split_words),
    AfterValidator(validators.distinct),
]
LogTargets = Annotated[
    tuple[Literal["file", "stderr"], ...],
    BeforeValidator(validators.split_words),
    AfterValidator(validators.distinct),
    Field(min_length=1),
]
RetryMinutes = Annotated[
    tuple[Annotated[int, Field(ge=1, le=720)], ...],
    BeforeValidator(validators.split_words),
    Field(max_length=10),
]
AllowedHosts = Annotated[Words, AfterValidator(validators.check_allowed_hosts)]
WorkflowSecrets = Annotated[
    Mapping[Annotated[str, AfterValidator(validators.check_secret_name)], Password],
    BeforeValidator(validators.check_pairs),
    BeforeValidator(validators.split_pairs),
]
WorkflowsInPrefect = Literal["beside", "first", "never"]
LogLevel = Annotated[str, AfterValidator(validators.check_log_level)]
Rotation = Annotated[str, AfterValidator(validators.check_rotation)]
TaskRunner = Annotated[str, AfterValidator(validators.check_task_runner)]
StorageType = Annotated[str, AfterValidator(validators.check_storage)]
Prefix = Annotated[str, AfterValidator(validators.check_prefix)]
FolderName = Annotated[str, AfterValidator(validators.check_id), AfterValidator(validators.check_prefix)]
RecordStorage = Literal["ledger", "file", "database"]
Folder = Annotated[Path, AfterValidator(validators.rooted)]
CaBundle = Annotated[Path, AfterValidator(validators.rooted), AfterValidator(validators.existing_file)]
Concurrency = Annotated[int, Field(ge=1, le=128)]
Seconds = Annotated[float, Field(gt=0, le=3600)]
Megabytes = Annotated[int, Field(ge=1, le=1024)]
Port = Annotated[int, Field(ge=1, le=65535)]
AtLeastOne = Annotated[int, Field(ge=1)]
RunLimit = Annotated[AtLeastOne, AfterValidator(validators.check_archiving)]
NotEmpty = Annotated[str, Field(min_length=1)]
Unchecked = Annotated[SecretStr | None, BeforeValidator(validators.as_text), Field(repr=False)]
"""As it was written; checked where it is used."""


class Frozen(BaseModel):
    """A part of the settings: nobody changes it, and it has no field of an unknown name."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        str_strip_whitespace=True,
        validate_default=True,
    )
