"""Upload a file in a process of its own and print by how many MB its memory grew meanwhile."""

import sys
from pathlib import Path

from pydantic import SecretStr

from flowledger.storage.buckets import BucketStorage
from flowledger.storage.oss import OssStorage
from flowledger.storage.s3 import S3Storage


def peak_kb() -> int:
    """Read the most memory this program has had; getrusage would tell that of the process it came from."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


kind, endpoint, bucket, key, secret, file, small = sys.argv[1:]
storage: BucketStorage
if kind == "s3":
    storage = S3Storage(bucket, endpoint, None, SecretStr(key), SecretStr(secret), "path")
else:
    storage = OssStorage(endpoint, bucket, SecretStr(key), SecretStr(secret))
storage.put("small", Path(small))
before = peak_kb()
storage.put("large", Path(file))
print((peak_kb() - before) // 1024)
