"""What buckets answer when they refuse or are away, said once for all vendors."""

import re

from flowledger.domain.texts import clip, one_line
from flowledger.errors import StorageError, StorageRefusedError, StorageUnavailableError

_LONGEST = 200
_UNTRUSTED = re.compile(r"(?:certificate verify failed:? |(?=hostname '[^']*' doesn't match))([^(\n]*)")
_RIGHTS = "let this key put, get, list and delete objects in the bucket"
_BUCKET = "make the bucket or mend {vendor}_BUCKET_NAME, {vendor}_ENDPOINT"
_CLOCK = "check the secret key, and set this machine's clock by NTP"
_SIDE = "mend {vendor}_ENDPOINT (and S3_REGION): the bucket is elsewhere"

_REFUSED = {
    "NoSuchBucket": _BUCKET,
    "InvalidBucketName": _BUCKET,
    "AccessDenied": _RIGHTS,
    "AllAccessDisabled": _RIGHTS,
    "Forbidden": _RIGHTS,
    "403": _RIGHTS,
    "InvalidAccessKeyId": "check {vendor}_ACCESS_KEY_ID: the server does not know it, or it is disabled",
    "InvalidSecurity": "check the access key",
    "ExpiredToken": "give a new access key: this one has expired",
    "SignatureDoesNotMatch": _CLOCK,
    "RequestTimeTooSkewed": "set this machine's clock by NTP: it is more than 15 minutes off",
    "PermanentRedirect": _SIDE,
    "301": _SIDE,
    "IllegalLocationConstraintException": _SIDE,
    "AuthorizationHeaderMalformed": _SIDE,
    "UserDisable": "look at the account: it is disabled, often for its bills",
    "QuotaExceeded": "make room in the bucket, or raise its quota",
    "XMinioStorageFull": "make room on the server's disks",
}
_AWAY = frozenset(
    {
        "SlowDown",
        "Throttling",
        "RequestLimitExceeded",
        "QpsLimitExceeded",
        "ServiceUnavailable",
        "InternalError",
        "RequestTimeout",
        "OperationAborted",
    }
)


def refusal(
    vendor: str, act: str, place: str, *, code: str, status: int = 0, message: str = ""
) -> StorageError:
    """Make the error of a bucket's answer: it names what was wanted, where, and what to do.

    ``vendor`` begins the names of its settings (S3, OSS); ``act`` and ``place`` read as "cannot keep s3://b/x".
    """
    said = clip(one_line(f"{code or status} {message}").strip(), _LONGEST)
    wanted = f"cannot {act} {place}: {said}"
    if code in _REFUSED:
        return StorageRefusedError(f"{wanted}; {_REFUSED[code].format(vendor=vendor)}")
    if code in _AWAY or status in (408, 429) or status >= 500:
        return away(act, place, said)
    if status in (401, 403):
        return StorageRefusedError(f"{wanted}; {_RIGHTS}")
    if code in ("NoSuchKey", "404") or status == 404:
        return StorageError(f"{wanted}; it was removed, or never kept there")
    return StorageError(f"{wanted}; see what the storage's documents say about it")


def away(act: str, place: str, reason: str) -> StorageUnavailableError:
    """Make the error of a storage that cannot be reached or takes nothing for now."""
    if found := _UNTRUSTED.search(reason):
        return StorageUnavailableError(
            f"cannot {act} {place}: its certificate is not trusted ({found[1].strip(' .')}); check the"
            " endpoint, or name the file of its authority in AWS_CA_BUNDLE (S3) or REQUESTS_CA_BUNDLE (OSS)"
        )
    return StorageUnavailableError(
        f"cannot {act} {place}: {clip(one_line(reason), _LONGEST)}; the storage is away for now: "
        "try again later; if it stays so, check its address, the network and its status page"
    )


def spoilt(place: str) -> StorageUnavailableError:
    """Make the error of content that is not what was sent: damaged on its way, so worth another try."""
    return StorageUnavailableError(f"{place}: the content differs from what was sent; try again")


def not_installed(library: str) -> StorageRefusedError:
    """Make the error of a vendor's library that is not there."""
    return StorageRefusedError(
        f"this storage needs {library}, which is not installed: run scripts/setup --all, or "
        "choose another STORAGE_TYPE"
    )
