"""Who may write what this program makes."""

import os


def let_no_other_write() -> None:
    """Let only owner and group write the files and folders of this process, whatever its umask says.

    What everybody may change proves nothing.  A stricter umask stays, and says who may read.
    """
    before = os.umask(0o077)  # to be asked it has to be set: to the strictest, for other threads
    os.umask(before | 0o002)
