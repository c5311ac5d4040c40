"""A small server that speaks the part of OSS's REST protocol which Flowledger uses, and checks signatures.

Path-style addresses (``/bucket/key``), as the vendor's library uses them for IP addresses.  Put, get, head,
multipart (init, part, complete, abort), list (version 2), batch delete, presigned get.  Errors are XML with
the real codes.
"""

import base64
import hashlib
import hmac
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from oss2.utils import Crc64  # type: ignore[import-untyped]  # has no types

SUBRESOURCES = frozenset({"uploads", "uploadId", "partNumber", "delete", "continuation-token"})
SKEW_S = 15 * 60


class RefusedError(Exception):
    """An answer that is an error of OSS."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


@dataclass
class Kept:
    """One object."""

    body: bytes
    headers: dict[str, str]
    at: datetime

    @property
    def crc(self) -> str:
        """Its CRC64, as OSS tells it."""
        return crc64(self.body)


def crc64(body: bytes) -> str:
    """Compute the CRC64 that OSS sends with objects and parts."""
    found = Crc64()
    found.update(body)
    return str(found.crc)


@dataclass
class OssState:
    """What the server knows: buckets with their objects, unfinished uploads, and the one key."""

    key_id: str
    secret: str
    buckets: dict[str, dict[str, Kept]] = field(default_factory=dict)
    uploads: dict[str, tuple[str, str, dict[str, str], dict[int, bytes]]] = field(default_factory=dict)
    page: int = 1000
    versions_seen: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)


class OssServer(ThreadingHTTPServer):
    """The server on a free port of the loopback."""

    daemon_threads = True

    def __init__(self, state: OssState) -> None:
        self.state = state
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: OssServer

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def handle_any(self) -> None:
        """Answer one request."""
        parts = urlsplit(self.path)
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        bucket, _, key = parts.path.lstrip("/").partition("/")
        self.bucket, self.key = unquote(bucket), unquote(key)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self.check_signature()
            self.check_md5()
            self.check_bucket()
            with self.server.state.lock:
                self.act()
        except RefusedError as error:
            self.refuse(error)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

    @property
    def objects(self) -> dict[str, Kept]:
        """The bucket's objects."""
        return self.server.state.buckets[self.bucket]

    def act(self) -> None:
        """Do what method and query ask for."""
        kind = next(
            (name for name in ("uploads", "uploadId", "delete", "list-type") if name in self.query), ""
        )
        {
            ("PUT", ""): self.put_object,
            ("GET", ""): self.get_object,
            ("HEAD", ""): self.get_object,
            ("POST", "uploads"): self.begin_upload,
            ("PUT", "uploadId"): self.put_part,
            ("POST", "uploadId"): self.complete,
            ("DELETE", "uploadId"): self.abort,
            ("GET", "list-type"): self.list_objects,
            ("POST", "delete"): self.delete_many,
        }[self.command, kind]()

    def put_object(self) -> None:
        """Keep an object."""
        self.objects[self.key] = self.kept(self.body, dict(self.headers.items()))
        self.answer(headers=self.proof(self.body))

    def get_object(self) -> None:
        """Give an object, or its head."""
        found = self.objects.get(self.key)
        if found is None:
            raise RefusedError(404, "NoSuchKey")
        headers = {
            **found.headers,
            **self.proof(found.body),
            "Last-Modified": format_datetime(found.at, usegmt=True),
        }
        self.answer(found.body, headers=headers)

    def begin_upload(self) -> None:
        """Begin an upload in parts."""
        number = f"upload{len(self.server.state.uploads)}-{datetime.now(UTC).timestamp()}"
        self.server.state.uploads[number] = (self.bucket, self.key, dict(self.headers.items()), {})
        self.xml(
            "InitiateMultipartUploadResult", f"<UploadId>{number}</UploadId><Key>{escape(self.key)}</Key>"
        )

    def put_part(self) -> None:
        """Keep a part."""
        self.upload()[3][int(self.query["partNumber"])] = self.body
        self.answer(headers=self.proof(self.body))

    def complete(self) -> None:
        """Join the parts that the request names."""
        _, key, headers, parts = self.upload()
        wanted = ElementTree.fromstring(self.body).findall("Part")
        numbers = [int(part.findtext("PartNumber") or 0) for part in wanted]
        if any(number not in parts for number in numbers):
            raise RefusedError(400, "InvalidPart")
        body = b"".join(parts[number] for number in numbers)
        self.objects[key] = self.kept(body, headers)
        del self.server.state.uploads[self.query["uploadId"]]
        self.xml("CompleteMultipartUploadResult", f"<Key>{escape(key)}</Key>", self.proof(body))

    def abort(self) -> None:
        """Forget an upload."""
        self.upload()
        del self.server.state.uploads[self.query["uploadId"]]
        self.answer(status=204)

    def upload(self) -> tuple[str, str, dict[str, str], dict[int, bytes]]:
        """Give the upload that the request is about."""
        known = self.server.state.uploads.get(self.query["uploadId"])
        if known is None:
            raise RefusedError(404, "NoSuchUpload")
        return known

    def list_objects(self) -> None:
        """List keys by prefix, page by page."""
        prefix, token = self.query.get("prefix", ""), self.query.get("continuation-token", "")
        keys = [key for key in sorted(self.objects) if key.startswith(prefix) and key > token]
        size = min(int(self.query.get("max-keys", 100)), self.server.state.page)
        page, more = keys[:size], len(keys) > size
        rows = "".join(
            f"<Contents><Key>{quote(key)}</Key><LastModified>{self.objects[key].at:%Y-%m-%dT%H:%M:%S.000Z}"
            f"</LastModified><ETag>x</ETag><Type>Normal</Type><Size>{len(self.objects[key].body)}</Size>"
            "<StorageClass>Standard</StorageClass></Contents>"
            for key in page
        )
        following = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        self.xml(
            "ListBucketResult",
            f"<Prefix>{quote(prefix)}</Prefix><EncodingType>url</EncodingType><MaxKeys>{size}</MaxKeys>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated><KeyCount>{len(page)}</KeyCount>{following}{rows}",
        )

    def delete_many(self) -> None:
        """Delete the keys of the request; one that is not there is no error."""
        keys = [node.findtext("Key") or "" for node in ElementTree.fromstring(self.body).findall("Object")]
        for key in keys:
            self.objects.pop(key, None)
        gone = "".join(f"<Deleted><Key>{quote(key)}</Key></Deleted>" for key in keys)
        self.xml("DeleteResult", f"<EncodingType>url</EncodingType>{gone}")

    def kept(self, body: bytes, headers: dict[str, str]) -> Kept:
        """Make an object with the headers that stay with it."""
        stay = {
            name: value
            for name, value in headers.items()
            if name.lower().startswith("x-oss-meta-") or name.lower() == "content-type"
        }
        return Kept(body, stay, datetime.now(UTC))

    def proof(self, body: bytes) -> dict[str, str]:
        """Give the headers that prove a content."""
        return {"ETag": f'"{hashlib.md5(body).hexdigest().upper()}"', "x-oss-hash-crc64ecma": crc64(body)}

    def check_bucket(self) -> None:
        """Refuse a bucket that is not there."""
        if self.bucket not in self.server.state.buckets:
            raise RefusedError(404, "NoSuchBucket")

    def check_md5(self) -> None:
        """Refuse a body that is not what its digest says."""
        said = self.headers.get("Content-MD5")
        if said and said != base64.b64encode(hashlib.md5(self.body).digest()).decode():
            raise RefusedError(400, "InvalidDigest")

    def check_signature(self) -> None:
        """Refuse an unknown key, a wrong signature, and a clock that is off."""
        said = self.headers.get("Authorization", "")
        if said.startswith("OSS4-HMAC-SHA256 "):
            self.server.state.versions_seen.add("v4")
            key_id, expected, found = self.signed_v4(said)
        elif said.startswith("OSS "):
            self.server.state.versions_seen.add("v1")
            key_id, _, found = said.removeprefix("OSS ").partition(":")
            date = self.headers["Date"]
            if abs((datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds()) > SKEW_S:
                raise RefusedError(403, "RequestTimeTooSkewed")
            expected = self.signed_v1(date)
        elif "Signature" in self.query:
            key_id, found = self.query.pop("OSSAccessKeyId"), self.query.pop("Signature")
            expires = self.query.pop("Expires")
            if int(expires) < datetime.now(UTC).timestamp():
                raise RefusedError(403, "AccessDenied")
            expected = self.signed_v1(expires)
        else:
            raise RefusedError(403, "AccessDenied")
        if key_id != self.server.state.key_id:
            raise RefusedError(403, "InvalidAccessKeyId")
        if not hmac.compare_digest(expected, found):
            raise RefusedError(403, "SignatureDoesNotMatch")

    def signed_v1(self, date: str) -> str:
        """Compute version 1's signature of the request."""
        own = sorted(
            (name.lower(), value) for name, value in self.headers.items() if name.lower().startswith("x-oss-")
        )
        subs = "&".join(
            f"{name}={value}" if value else name
            for name, value in sorted(self.query.items())
            if name in SUBRESOURCES
        )
        text = "\n".join(
            (
                self.command,
                self.headers.get("Content-MD5", ""),
                self.headers.get("Content-Type", ""),
                date,
                "".join(f"{name}:{value}\n" for name, value in own)
                + f"/{self.bucket}/{self.key}"
                + (f"?{subs}" if subs else ""),
            )
        )
        digest = hmac.new(self.server.state.secret.encode(), text.encode(), hashlib.sha1).digest()
        return base64.b64encode(digest).decode()

    def signed_v4(self, said: str) -> tuple[str, str, str]:
        """Give key, the right signature of version 4, and the one that was sent."""
        fields = dict(
            part.strip().split("=", 1) for part in said.removeprefix("OSS4-HMAC-SHA256 ").split(",")
        )
        key_id, date, region, product, request = fields["Credential"].split("/")
        own = sorted(
            (name.lower(), value.strip())
            for name, value in self.headers.items()
            if name.lower().startswith("x-oss-") or name.lower() in ("content-type", "content-md5")
        )
        query = "&".join(
            f"{quote(name, '')}={quote(value, '')}" if value else quote(name, "")
            for name, value in sorted(self.query.items())
        )
        canonical = "\n".join(
            (
                self.command,
                quote(f"/{self.bucket}/{self.key}"),
                query,
                "".join(f"{name}:{value}\n" for name, value in own),
                "",
                self.headers["x-oss-content-sha256"],
            )
        )
        scope = f"{date}/{region}/{product}/{request}"
        text = "\n".join(
            (
                "OSS4-HMAC-SHA256",
                self.headers["x-oss-date"],
                scope,
                hashlib.sha256(canonical.encode()).hexdigest(),
            )
        )
        key = f"aliyun_v4{self.server.state.secret}".encode()
        for part in (date, region, product, request):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return key_id, hmac.new(key, text.encode(), hashlib.sha256).hexdigest(), fields["Signature"]

    def refuse(self, error: RefusedError) -> None:
        """Answer with an error."""
        text = f"<Code>{error.code}</Code><Message>said by the server</Message><RequestId>1</RequestId>"
        self.xml("Error", text, status=error.status)

    def xml(self, root: str, inner: str, headers: dict[str, str] | None = None, status: int = 200) -> None:
        """Answer with a document."""
        text = f'<?xml version="1.0" encoding="UTF-8"?><{root}>{inner}</{root}>'
        self.answer(
            text.encode(), headers={**(headers or {}), "Content-Type": "application/xml"}, status=status
        )

    def answer(self, body: bytes = b"", headers: dict[str, str] | None = None, status: int = 200) -> None:
        """Send an answer; to HEAD without its body."""
        self.send_response(status)
        self.send_header("x-oss-request-id", "1")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
