"""The types of the values of settings."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from flowledger.settings.addresses import (
    check_base_url,
    check_bucket_name,
    check_endpoint,
    check_host,
    check_mail_address,
    check_receivers,
)
from flowledger.settings.validators import (
    as_text,
    check_channel,
    check_format,
    check_http,
    check_id,
    check_log_level,
    check_origin,
    check_placeholder,
    check_prefix,
    check_rotation,
    check_secret,
    check_storage,
    check_task_runner,
    check_token,
    check_web_secret,
    check_word,
    check_zone,
    distinct,
    existing_file,
    rooted,
    split_words,
)

Password = Annotated[SecretStr, BeforeValidator(as_text), AfterValidator(check_secret)]
Token = Annotated[SecretStr, AfterValidator(check_secret), AfterValidator(check_token)]
SecretAddress = Annotated[SecretStr, AfterValidator(check_web_secret)]
BaseUrl = Annotated[str, AfterValidator(check_base_url)]
HttpUrl = Annotated[str, AfterValidator(check_http)]
AppId = Annotated[str, AfterValidator(check_id)]
Host = Annotated[str, AfterValidator(check_host)]
MailAddress = Annotated[str, AfterValidator(check_mail_address)]
BucketName = Annotated[str, AfterValidator(check_bucket_name)]
Endpoint = Annotated[str, AfterValidator(check_endpoint)]
Email = Annotated[str, AfterValidator(check_placeholder)]
ZoneName = Annotated[str, AfterValidator(check_zone)]
Language = Literal["zh", "en"]
EnvironmentName = Literal["dev", "staging", "prod"]
MailSecurity = Literal["starttls", "tls", "none"]
AddressingStyle = Literal["auto", "path", "virtual"]
Formats = Annotated[
    tuple[Annotated[str, AfterValidator(check_format)], ...],
    BeforeValidator(split_words),
    AfterValidator(distinct),
    Field(min_length=1),
]
Words = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    BeforeValidator(split_words),
    AfterValidator(distinct),
]
Receivers = Annotated[Words, AfterValidator(check_receivers)]
Tags = Annotated[
    tuple[Annotated[str, AfterValidator(check_word)], ...],
    BeforeValidator(split_words),
    AfterValidator(distinct),
]
ChannelTypes = Annotated[
    tuple[Annotated[str, AfterValidator(check_channel)], ...],
    BeforeValidator(split_words),
    AfterValidator(distinct),
]
Origins = Annotated[
    tuple[Annotated[str, AfterValidator(check_origin)], ...],
    BeforeValidator(split_words),
    AfterValidator(distinct),
]
LogTargets = Annotated[
    tuple[Literal["file", "stderr"], ...],
    BeforeValidator(split_words),
    AfterValidator(distinct),
    Field(min_length=1),
]
RetryMinutes = Annotated[
    tuple[Annotated[int, Field(ge=1, le=720)], ...],
    BeforeValidator(split_words),
    Field(max_length=10),
]
LogLevel = Annotated[str, AfterValidator(check_log_level)]
Rotation = Annotated[str, AfterValidator(check_rotation)]
TaskRunner = Annotated[str, AfterValidator(check_task_runner)]
StorageType = Annotated[str, AfterValidator(check_storage)]
Prefix = Annotated[str, AfterValidator(check_prefix)]
FolderName = Annotated[str, AfterValidator(check_id), AfterValidator(check_prefix)]
RecordStorage = Literal["ledger", "file", "database"]
Folder = Annotated[Path, AfterValidator(rooted)]
CaBundle = Annotated[Path, AfterValidator(rooted), AfterValidator(existing_file)]
Concurrency = Annotated[int, Field(ge=1, le=128)]
Seconds = Annotated[float, Field(gt=0, le=3600)]
Megabytes = Annotated[int, Field(ge=1, le=1024)]
Port = Annotated[int, Field(ge=1, le=65535)]
AtLeastOne = Annotated[int, Field(ge=1)]
NotEmpty = Annotated[str, Field(min_length=1)]
Unchecked = Annotated[SecretStr | None, BeforeValidator(as_text), Field(repr=False)]
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
