"""Buckets on servers of our own, one of each kind for all tests of a process, behind gates for faults."""

import threading
from functools import cache
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import boto3
import pytest
from fault_gate import FaultGate
from moto.server import ThreadedMotoServer
from oss_server import OssServer, OssState
from pydantic import SecretStr

from flowledger.storage.buckets import BucketStorage
from flowledger.storage.oss import OssStorage
from flowledger.storage.s3 import S3Storage

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

KEY = "tester"
SECRET = "known to the tests alone"
BUCKETS = ("oss", "s3")


def served(server: ThreadingHTTPServer) -> None:
    """Let a server answer until the process ends."""
    threading.Thread(target=lambda: server.serve_forever(poll_interval=0.05), daemon=True).start()


@cache
def s3_gate() -> FaultGate:
    """Start moto's server and a gate before it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    gate = FaultGate(port)
    served(gate)
    return gate


@cache
def oss_state() -> OssState:
    """Give what the OSS server knows."""
    return OssState(KEY, SECRET)


@cache
def oss_gate() -> FaultGate:
    """Start the OSS server and a gate before it."""
    server = OssServer(oss_state())
    served(server)
    gate = FaultGate(server.server_address[1])
    served(gate)
    return gate


def s3_client(gate: FaultGate) -> "S3Client":
    """Talk to moto past the gate."""
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{gate.behind}",
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
    )


def new_bucket(kind: str, prefix: str = "", *, bucket: str | None = None) -> BucketStorage:
    """Give a storage of a kind with a bucket of its own, empty."""
    name = bucket or f"b-{uuid4().hex[:12]}"
    if kind == "s3":
        if bucket is None:
            s3_client(s3_gate()).create_bucket(Bucket=name)
        return S3Storage(
            bucket_name=name,
            endpoint=s3_gate().endpoint,
            access_key_id=SecretStr(KEY),
            secret_access_key=SecretStr(SECRET),
            addressing_style="path",
            prefix=prefix,
        )
    if bucket is None:
        oss_state().buckets[name] = {}
    return OssStorage(oss_gate().endpoint, name, SecretStr(KEY), SecretStr(SECRET), prefix)


def gate_of(kind: str) -> FaultGate:
    """Give the gate before a kind of bucket."""
    return s3_gate() if kind == "s3" else oss_gate()


def unfinished(kind: str, bucket: BucketStorage) -> int:
    """Count the uploads in parts that are not done."""
    if kind == "s3":
        return len(s3_client(s3_gate()).list_multipart_uploads(Bucket=bucket.bucket_name).get("Uploads", []))
    return sum(upload[0] == bucket.bucket_name for upload in oss_state().uploads.values())


def without_waiting(patch: pytest.MonkeyPatch) -> None:
    """Let retries follow at once, few of them."""
    patch.setattr("flowledger.storage.oss.LONGEST_WAIT_S", 0.0)
    patch.setattr("flowledger.storage.oss.ATTEMPTS", 3)
    patch.setattr("flowledger.storage.s3.ATTEMPTS", 3)
    patch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda self, context: 0)


def large_file(path: Path, size_mb: int) -> Path:
    """Write a file that goes up in parts."""
    with path.open("wb") as out:
        for number in range(size_mb):
            out.write(bytes([number % 251]) * (1 << 20))
    return path
