"""What a large upload costs in memory."""

import subprocess
import sys
from pathlib import Path

import pytest
from bucket_servers import BUCKETS, KEY, SECRET, gate_of, large_file, new_bucket

SIZE_MB = 60


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a program's peak")
@pytest.mark.parametrize("kind", BUCKETS)
def test_a_large_upload_takes_little_memory(kind: str, tmp_path: Path) -> None:
    """Uploading 60 MB takes less than two thirds of that, in a process that does nothing else."""
    (tmp_path / "small").write_bytes(b"x")
    large = large_file(tmp_path / "large", SIZE_MB)
    bucket = new_bucket(kind)
    program = Path(__file__).with_name("upload_memory.py")
    words = [kind, gate_of(kind).endpoint, bucket.bucket_name, KEY, SECRET, large, tmp_path / "small"]
    done = subprocess.run(
        [sys.executable, program, *map(str, words)], capture_output=True, text=True, check=True, timeout=90
    )
    assert 0 < int(done.stdout) < SIZE_MB * 2 // 3
    assert {each.name: each.size_bytes for each in bucket.names("")} == {"small": 1, "large": SIZE_MB << 20}
