"""UTF-8 for file names, the console and the log, whatever the locale of the machine says."""

import os
import sys
from io import TextIOWrapper

from flowledger.errors import SettingsError

VARIABLE = "PYTHONUTF8"


def restart_in_utf8() -> None:
    """Start this program anew in Python's UTF-8 mode, in the same process, where the locale is not UTF-8.

    Names of files are encoded as the locale has it from the first moment on, so nothing less will do.
    Processes that this one starts are in that mode too.
    """
    tolerate_console()
    if is_utf8():
        return
    os.environ[VARIABLE] = "1"
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606  # ourselves


def check_encoding() -> None:
    """Check that files can have any name.

    :raises SettingsError: saying what to set, where the locale of this process does not allow it.
    """
    if not is_utf8():
        raise SettingsError(
            [
                f"the locale of this process is not UTF-8 but {sys.getfilesystemencoding()}, so files cannot"
                f" have Chinese names: set {VARIABLE}=1, or LC_ALL=C.UTF-8, where it is started"
            ]
        )


def is_utf8() -> bool:
    """Return whether names of files are UTF-8."""
    return sys.getfilesystemencoding().lower().replace("-", "") == "utf8"


def tolerate_console() -> None:
    """Let no character that the console cannot show end the program: it is written as its code instead."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
