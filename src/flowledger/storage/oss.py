"""Files stored as objects of a bucket of Alibaba Cloud OSS."""

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import SecretStr
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from flowledger.errors import StorageError
from flowledger.http.session import (
    BUNDLE_VARIABLES,
    authorities_file,
    environment_proxies,
)
from flowledger.ports import StoredFile
from flowledger.storage import buckets

ATTEMPTS = 5
"""Tries of one request, the first included; oss2 itself never tries twice."""

LONGEST_WAIT_S = 20.0
"""Longest wait between two tries; each is drawn at random below a growing bound."""

_TIMEOUTS_S = (10, 60)
_DIGEST = "x-oss-meta-sha256"
_REGION = re.compile(r"^(?:https?://)?(?:s3\.)?oss-([a-z]{2}-[a-z0-9-]+?)(?:-internal)?\.aliyuncs\.com$")
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class OssStorage(buckets.BucketStorage):
    """Files as objects of a bucket of Alibaba Cloud OSS.

    ``endpoint`` is the region's, such as ``oss-cn-hangzhou.aliyuncs.com``, https unless it says otherwise;
    requests are signed by version 4 where its name contains the region, which it needs, else by version 1.
    """

    endpoint: str
    bucket_name: str
    access_key_id: SecretStr
    access_key_secret: SecretStr
    prefix: str = ""

    scheme: ClassVar[str] = "oss"

    def _send(self, key: str, path: Path, digest: buckets.Digest) -> None:
        headers = {"Content-Type": buckets.media_type(key), _DIGEST: digest.sha256}
        with self._translated("store", key):
            if digest.size_bytes < buckets.MULTIPART_FROM:
                self._send_whole(key, path, {**headers, "Content-MD5": base64.b64encode(digest.md5).decode()})
            else:
                self._send_parts(key, path, headers, buckets.part_size(digest.size_bytes))
            head = _with_retries(lambda: self._bucket.head_object(key))
            if head.content_length != digest.size_bytes or head.headers.get(_DIGEST) != digest.sha256:
                raise buckets.damaged(self._place(key))

    def _send_whole(self, key: str, path: Path, headers: dict[str, str]) -> None:
        def send() -> None:
            with path.open("rb") as content:
                self._bucket.put_object(key, content, headers=dict(headers))

        _with_retries(send)

    def _send_parts(self, key: str, path: Path, headers: dict[str, str], size: int) -> None:
        """Send a file part by part, one in memory at a time; where it fails, no part stays."""
        from oss2.exceptions import NoSuchUpload  # type: ignore[import-untyped]  # has no types

        upload = _with_retries(
            lambda: self._bucket.init_multipart_upload(key, headers=dict(headers))
        ).upload_id
        try:
            with path.open("rb") as content:
                chunks = enumerate(iter(lambda: content.read(size), b""), 1)
                parts = [self._send_part(key, upload, number, chunk) for number, chunk in chunks]
            # A repeated request finds no upload where the first one completed it; the head shows that.
            with suppress(NoSuchUpload):
                _with_retries(lambda: self._bucket.complete_multipart_upload(key, upload, parts))
        except BaseException:
            self._abort(key, upload)
            raise

    def _send_part(self, key: str, upload: str, number: int, chunk: bytes) -> Any:
        from oss2.models import PartInfo  # type: ignore[import-untyped]  # has no types

        digest = base64.b64encode(hashlib.md5(chunk, usedforsecurity=False).digest()).decode()
        sent = _with_retries(
            lambda: self._bucket.upload_part(key, upload, number, chunk, headers={"Content-MD5": digest})
        )
        return PartInfo(number, sent.etag, size=len(chunk), part_crc=sent.crc)

    def _abort(self, key: str, upload: str) -> None:
        from oss2.exceptions import OssError

        with suppress(OssError):  # the error before it is the one to report
            _with_retries(lambda: self._bucket.abort_multipart_upload(key, upload))

    def _fetch(self, key: str) -> tuple[bytes, str]:
        def fetch() -> tuple[bytes, str]:
            answer = self._bucket.get_object(key)
            content = answer.read()
            if answer.server_crc not in (None, answer.client_crc):
                raise buckets.damaged(self._place(key))
            return content, answer.headers.get(_DIGEST, "")

        with self._translated("read", key):
            return _with_retries(fetch)

    def _list(self, start: str) -> Iterator[StoredFile]:
        token = ""
        with self._translated("list", start):
            while True:
                page = _with_retries(
                    lambda: self._bucket.list_objects_v2(start, continuation_token=token, max_keys=1000)  # noqa: B023
                )
                for each in page.object_list:
                    yield StoredFile(each.key, datetime.fromtimestamp(each.last_modified, UTC), each.size)
                if not page.is_truncated:
                    return
                token = page.next_continuation_token

    def _delete(self, keys: Sequence[str]) -> None:
        with self._translated("remove", keys[0]):
            _with_retries(lambda: self._bucket.batch_delete_objects(list(keys)))

    def _sign(self, key: str, seconds: int) -> str:
        with self._translated("sign a link to", key):
            return str(self._bucket.sign_url("GET", key, seconds, slash_safe=True))

    @cached_property
    def _bucket(self) -> Any:
        import oss2  # type: ignore[import-untyped]  # has no types

        endpoint = self.endpoint if "://" in self.endpoint else f"https://{self.endpoint}"
        region = region_of(endpoint)
        sign = oss2.AuthV4 if region else oss2.Auth
        auth = sign(self.access_key_id.get_secret_value(), self.access_key_secret.get_secret_value())
        buckets.check_surroundings(endpoint, *BUNDLE_VARIABLES)
        session = oss2.Session()
        # requests, below oss2, would put a password of .netrc in the place of the signature.
        session.session.trust_env = False
        session.session.verify = authorities_file() or True
        # The library calls it the connect timeout and hands it to requests, which takes two.
        return oss2.Bucket(
            auth,
            endpoint,
            self.bucket_name,
            connect_timeout=_TIMEOUTS_S,
            region=region,
            session=session,
            proxies=environment_proxies(endpoint),
        )

    @contextmanager
    def _translated(self, act: str, key: str) -> Iterator[None]:
        try:
            from oss2.exceptions import OssError
        except ImportError as error:
            raise buckets.not_installed("oss2") from error
        try:
            yield
        except OssError as error:
            raise _storage_error(act, self._place(key), error) from error
        except OSError as error:
            if not _is_cut_short(error):
                raise
            raise buckets.unavailable(act, self._place(key), str(error)) from error


def region_of(endpoint: str) -> str | None:
    """Return the region in an endpoint of Alibaba Cloud; None where it is another's."""
    match = _REGION.match(endpoint.rstrip("/"))
    return match[1] if match else None


def _with_retries(call: Callable[[], _Answer]) -> _Answer:
    """Return the answer to a request, repeated while that may help; the last error is raised unchanged."""
    waits = wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT_S)
    again = retry_if_exception(_is_passing)
    return Retrying(stop=stop_after_attempt(ATTEMPTS), wait=waits, retry=again, reraise=True)(call)


def _is_passing(error: BaseException) -> bool:
    from oss2.exceptions import InconsistentError, OssError, RequestError

    if isinstance(error, RequestError | InconsistentError) or _is_cut_short(error):
        return True
    return isinstance(error, OssError) and (error.status >= 500 or error.status in (408, 429))


def _is_cut_short(error: BaseException) -> bool:
    """Return whether an answer broke off while it was read: oss2 lets the errors of requests through then."""
    return isinstance(error, OSError) and type(error).__module__.startswith("requests.")


def _storage_error(act: str, place: str, error: Any) -> StorageError:
    """Return our error for one of oss2."""
    from oss2.exceptions import ClientError, InconsistentError, RequestError

    if isinstance(error, RequestError):
        return buckets.unavailable(act, place, str(error.body))
    if isinstance(error, InconsistentError):
        return buckets.damaged(place)
    if isinstance(error, ClientError):
        return buckets.refusal("OSS", act, place, code="InvalidBucketName", message=str(error.body))
    return buckets.refusal("OSS", act, place, code=error.code, status=error.status, message=error.message)
