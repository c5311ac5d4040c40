"""Where scratch files go."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

from flowledger.errors import SettingsError, StorageError
from flowledger.io import encoding
from flowledger.io.scratch import FOLDER, provide_scratch


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leave Python no folder of the system's but the current one."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(
        tempfile, "_candidate_tempdir_list", lambda: [os.environ.get("TMPDIR", ""), str(Path.cwd())]
    )
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.chdir(tmp_path)


def test_the_system_s_folder_is_used_where_it_works(tmp_path: Path) -> None:
    """Nothing is made below the outputs."""
    assert provide_scratch(tmp_path) == Path(tempfile.gettempdir())
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("nowhere")
def test_else_one_below_the_outputs(tmp_path: Path) -> None:
    """For this process, by tempfile, and for those it starts, by TMPDIR."""
    outputs = tmp_path / "outputs"
    assert provide_scratch(outputs) == outputs / FOLDER
    assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(outputs / FOLDER)
    assert provide_scratch(outputs) == outputs / FOLDER


@pytest.mark.usefixtures("nowhere")
def test_where_neither_can_be_written_what_to_set_is_said(tmp_path: Path) -> None:
    """Both variables are named."""
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"no folder for scratch files.*TMPDIR.*OUTPUT_BASE_DIR"):
        provide_scratch(tmp_path / "file")


def test_names_that_cannot_be_encoded_are_refused_before_work_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the process was not started by us, such as a worker of Prefect."""
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "iso8859-1")
    with pytest.raises(SettingsError, match=r"not UTF-8 but iso8859-1.*PYTHONUTF8=1"):
        encoding.check_encoding()
