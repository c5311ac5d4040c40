"""Files that are written whole or not at all."""

from pathlib import Path

import pytest

from flowledger.errors import SettingsError
from flowledger.settings.config_files import replace_all, write_secret, write_whole


def test_several_files_are_replaced_or_none(tmp_path: Path) -> None:
    """One that cannot be made ready leaves the others as they are, and nothing is left lying about."""
    file = tmp_path / "a"
    file.write_text("old", "utf-8")
    with pytest.raises(SettingsError, match=r"missing/.* cannot be written \(No such file or directory\)"):
        replace_all({file: b"new", tmp_path / "missing/b": b"new"})
    assert [(path.name, path.read_text("utf-8")) for path in tmp_path.iterdir()] == [("a", "old")]
    replace_all({file: b"new"})
    assert file.read_text("utf-8") == "new"


def test_a_new_file_can_be_read_by_all_and_a_secret_by_its_owner(tmp_path: Path) -> None:
    """Schemas are for everyone, keys are not."""
    write_whole(tmp_path / "schema", "{}")
    write_secret(tmp_path / "key", "k")
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"schema": 0o644, "key": 0o600}


def test_a_secret_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """The file and the reason are named."""
    with pytest.raises(SettingsError, match=r"missing/key cannot be written \(No such file or directory\)"):
        write_secret(tmp_path / "missing/key", "k")
    write_secret(tmp_path / "key", "k")
    with pytest.raises(SettingsError, match="is there already and is not overwritten: name another file"):
        write_secret(tmp_path / "key", "other")
    assert (tmp_path / "key").read_text("utf-8") == "k"
