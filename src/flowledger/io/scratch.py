"""Where scratch files go: the system's folder for them, or one of ours where that cannot be written."""

import os
import tempfile
from pathlib import Path

from flowledger.errors import StorageError

FOLDER = ".scratch"
"""Below the output folder; no stored report begins with a dot."""


def provide_scratch(outputs: Path) -> Path:
    """Return the folder for scratch files, of this process and of those that it starts.

    A container whose file system is read-only has none but what is mounted: then it is below ``outputs``.

    :raises StorageError: when neither can be written.
    """
    if _system_folder_works():
        return Path(tempfile.gettempdir())
    folder = outputs / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StorageError(
            f"no folder for scratch files can be written: neither the system's nor {folder}"
            f" ({error.strerror or error}); name one in TMPDIR, or let this user write OUTPUT_BASE_DIR"
        ) from error
    # SQLite and Prefect's processes look at the variable.
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None
    return folder


def _system_folder_works() -> bool:
    """Return whether there is one; Python's last resort, the current folder, is none."""
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError:
        return False
    named = [os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")]
    return Path(folder) != Path.cwd() or folder in named
