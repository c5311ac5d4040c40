"""Files stored as objects of an S3 bucket."""

import base64
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import SecretStr

from flowledger.errors import StorageError
from flowledger.http.session import BUNDLE_VARIABLES, authorities_file, environment_proxies
from flowledger.ports import StoredFile
from flowledger.storage import buckets

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ATTEMPTS = 5
"""Tries of one request, the first included; boto3 makes them, with growing waits of up to 20 s."""

_CONNECT_S = 10
_READ_S = 60
_AT_ONCE = 4
_CHUNK = 1 << 20
_AWS = "https://s3.amazonaws.com"
_OWN_BUNDLE = "AWS_CA_BUNDLE"
_OWN_KEYS = "mend it, unset the variable, or set S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY"


@dataclass(frozen=True)
class S3Storage(buckets.BucketStorage):
    """Files as objects of a bucket of AWS S3 or of a server that speaks its protocol.

    Without keys, those that boto3 finds are used (environment, profile, the machine's role).  A server
    with an ``endpoint`` of its own is sent no checksum headers, which not all understand; what arrived is
    compared by size and ETag instead, and where the ETag is no MD5, by reading it back.
    """

    bucket_name: str
    endpoint: str | None = None
    region: str | None = None
    access_key_id: SecretStr | None = None
    secret_access_key: SecretStr | None = None
    addressing_style: Literal["auto", "path", "virtual"] = "auto"
    prefix: str = ""

    scheme: ClassVar[str] = "s3"

    def _send(self, key: str, path: Path, digest: buckets.Digest) -> None:
        part = buckets.part_size(digest.size_bytes)
        with self._translated("store", key):
            from boto3.s3.transfer import TransferConfig

            self._client.upload_file(
                str(path),
                self.bucket_name,
                key,
                ExtraArgs={"ContentType": buckets.media_type(key), "Metadata": {"sha256": digest.sha256}},
                # Reads from the file part by part, and aborts the upload when a part fails.
                Config=TransferConfig(
                    multipart_threshold=buckets.MULTIPART_FROM,
                    multipart_chunksize=part,
                    max_concurrency=_AT_ONCE,
                ),
            )
            if not self._arrived(key, path, digest, part):
                self._client.delete_object(Bucket=self.bucket_name, Key=key)
                raise buckets.damaged(self._place(key))

    def _arrived(self, key: str, path: Path, digest: buckets.Digest, part: int) -> bool:
        head = self._client.head_object(Bucket=self.bucket_name, Key=key)
        if head["ContentLength"] != digest.size_bytes:
            return False
        tag = head["ETag"].strip('"')
        if digest.size_bytes >= buckets.MULTIPART_FROM:
            return tag == _tag_of_parts(path, part) or self._reads_back(key, digest)
        return tag == digest.md5.hex() or self._reads_back(key, digest)

    def _reads_back(self, key: str, digest: buckets.Digest) -> bool:
        content = hashlib.sha256()
        body = self._client.get_object(Bucket=self.bucket_name, Key=key)["Body"]
        for chunk in body.iter_chunks(_CHUNK):
            content.update(chunk)
        return content.hexdigest() == digest.sha256

    def _fetch(self, key: str) -> tuple[bytes, str]:
        with self._translated("read", key):
            answer = self._client.get_object(Bucket=self.bucket_name, Key=key)
            return answer["Body"].read(), answer.get("Metadata", {}).get("sha256", "")

    def _list(self, start: str) -> Iterator[StoredFile]:
        with self._translated("list", start):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket_name, Prefix=start
            )
            for page in pages:
                for each in page.get("Contents", ()):
                    yield StoredFile(each["Key"], each["LastModified"], each["Size"])

    def _delete(self, keys: Sequence[str]) -> None:
        with self._translated("remove", keys[0]):
            answer = self._client.delete_objects(
                Bucket=self.bucket_name, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
            )
        for problem in answer.get("Errors", ()):
            if problem.get("Code") != "NoSuchKey":
                place = self._place(problem.get("Key", ""))
                message = problem.get("Message", "")
                raise buckets.refusal("S3", "remove", place, code=problem.get("Code", ""), message=message)

    def _sign(self, key: str, seconds: int) -> str:
        with self._translated("sign a link to", key):
            return self._client.generate_presigned_url(
                "get_object", Params={"Bucket": self.bucket_name, "Key": key}, ExpiresIn=seconds
            )

    @cached_property
    def _client(self) -> "S3Client":
        import boto3
        from botocore.config import Config

        # Checksum headers came to S3 late; the other servers that speak its protocol may refuse them.
        checksums: Literal["when_required", "when_supported"] = (
            "when_required" if self.endpoint else "when_supported"
        )
        buckets.check_surroundings(self.endpoint or _AWS, _OWN_BUNDLE, *BUNDLE_VARIABLES)
        # Where botocore is given none it reads the environment itself, and would send loopback's there too.
        proxies = environment_proxies(self.endpoint) if self.endpoint else None
        session = boto3.session.Session(botocore_session=self._own_session())
        client = session.client(
            "s3",
            endpoint_url=self.endpoint,
            verify=os.environ.get(_OWN_BUNDLE) or authorities_file(),
            region_name=self.region or ("us-east-1" if self.endpoint else None),
            aws_access_key_id=_plain(self.access_key_id),
            aws_secret_access_key=_plain(self.secret_access_key),
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": self.addressing_style},
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                proxies=proxies,
                connect_timeout=_CONNECT_S,
                read_timeout=_READ_S,
                request_checksum_calculation=checksums,
                response_checksum_validation=checksums,
            ),
        )
        client.meta.events.register("before-sign.s3.DeleteObjects", _add_md5)
        return client

    @property
    def _has_keys(self) -> bool:
        return self.access_key_id is not None and self.secret_access_key is not None

    def _own_session(self) -> Any:
        """Return a session that reads no profile and no configuration of the machine where keys are set.

        Both could be another program's, be broken, or name a profile that is not on this machine.
        """
        from botocore.session import Session

        if not self._has_keys:
            return Session()
        nowhere = (None, None, os.devnull, None)
        unset = (None, None, None, None)
        variables = {
            "profile": unset,
            "config_file": nowhere,
            "credentials_file": nowhere,
            # AWS_ENDPOINT_URL may be another program's server.
            "ignore_configured_endpoint_urls": (None, None, True, None),
        }
        return Session(variables)

    @contextmanager
    def _translated(self, act: str, key: str) -> Iterator[None]:
        try:
            from boto3.exceptions import Boto3Error
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError as error:
            raise buckets.not_installed("boto3") from error
        place = self._place(key)
        try:
            yield
        except Boto3Error as error:
            # boto3's transfer hides the server's answer in a text of its own.
            raise _storage_error(act, place, error.__context__ or error) from error
        except (ClientError, BotoCoreError) as error:
            raise _storage_error(act, place, error) from error


def _storage_error(act: str, place: str, error: BaseException) -> StorageError:
    """Return our error for one of boto3."""
    from botocore import exceptions as botocore_errors

    if isinstance(error, botocore_errors.ClientError):
        answer, status = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
        return buckets.refusal(
            "S3",
            act,
            place,
            code=answer.get("Code", ""),
            status=status.get("HTTPStatusCode", 0),
            message=answer.get("Message", ""),
        )
    if isinstance(error, botocore_errors.NoCredentialsError | botocore_errors.PartialCredentialsError):
        return buckets.refusal("S3", act, place, code="InvalidAccessKeyId", message="no access key is set")
    if isinstance(error, botocore_errors.ParamValidationError):
        return buckets.refusal("S3", act, place, code="InvalidBucketName", message=str(error))
    passing = (
        botocore_errors.ConnectionError,
        botocore_errors.SSLError,
        botocore_errors.HTTPClientError,
        botocore_errors.CredentialRetrievalError,
        botocore_errors.MetadataRetrievalError,
        botocore_errors.ChecksumError,
        botocore_errors.FlexibleChecksumError,
    )
    if isinstance(error, passing) or not isinstance(error, botocore_errors.BotoCoreError):
        return buckets.unavailable(act, place, str(error))
    if isinstance(error, botocore_errors.ProfileNotFound):
        remedy = f"AWS_PROFILE names it: {_OWN_KEYS}"
    elif isinstance(error, botocore_errors.ConfigParseError | botocore_errors.ConfigNotFound):
        remedy = f"AWS_CONFIG_FILE or AWS_SHARED_CREDENTIALS_FILE names it: {_OWN_KEYS}"
    else:
        remedy = "check the settings S3_… and the variables AWS_… of this machine"
    return buckets.unusable(act, place, f"{error}; {remedy}")


def _add_md5(request: Any, **_: Any) -> None:
    """Add the digest to deletions that older servers require, where boto3 sends only the newer checksum."""
    if request.body and "Content-MD5" not in request.headers:
        digest = hashlib.md5(request.body, usedforsecurity=False).digest()
        request.headers["Content-MD5"] = base64.b64encode(digest).decode()


def _tag_of_parts(path: Path, part: int) -> str:
    """Return the ETag of a file sent in parts: the MD5 of their MD5s, and their number."""
    whole, parts = hashlib.md5(usedforsecurity=False), 0
    with path.open("rb") as content:
        while chunk := content.read(part):
            whole.update(hashlib.md5(chunk, usedforsecurity=False).digest())
            parts += 1
    return f"{whole.hexdigest()}-{parts}"


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
