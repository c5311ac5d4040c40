"""A process that has ended is told from one that lives, also where its number was given again."""

import subprocess
import sys

from flowledger.api.processes import has_ended, own_process


def test_only_a_process_of_this_machine_that_is_gone_has_ended() -> None:
    """Nothing is said of other machines, nor of what older versions recorded."""
    own = own_process()
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert has_ended(own | {"pid": child.pid})
    assert has_ended(own | {"start": "1"})
    assert not has_ended(own)
    assert not has_ended(own | {"host": "elsewhere", "pid": child.pid})
    assert not has_ended(None)
