"""What is refused before anything is collected."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from flowledger import bootstrap
from flowledger.errors import StorageError
from flowledger.services.report_requests import RunOrder
from flowledger.settings import ConfigManager

APP = {"DIFY_BASE_URL": "http://127.0.0.1:9", "DIFY_API_TOKEN": "app-simulated", "DIFY_APP_ID": "a-1"}
AT = datetime(2026, 1, 6, 2, tzinfo=UTC)


def open_for(root: Path, output_dir: Path) -> None:
    """Open the parts of an order that names a folder."""
    order = RunOrder(output_dir=str(output_dir))
    with bootstrap.configured(ConfigManager(root, APP)), bootstrap.open_pipeline(order, AT):
        pass


def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    """Not after hours of collecting; the error names what stands in the way."""
    (tmp_path / "reports").write_text("a file", "utf-8")
    with pytest.raises(StorageError, match=r"reports is no folder.*--output-dir"):
        open_for(tmp_path, tmp_path / "reports" / "daily")


def test_a_folder_is_not_made_before_there_is_a_report(tmp_path: Path) -> None:
    """Looking touches nothing."""
    open_for(tmp_path, tmp_path / "new" / "daily")
    assert not (tmp_path / "new").exists()
