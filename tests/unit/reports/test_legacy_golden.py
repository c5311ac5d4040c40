"""The old script's files, byte for byte (but for the exceptions its users agreed to)."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from flowledger.errors import StorageError
from flowledger.reports import old_script
from flowledger.reports.rows import Paging, joined_row

SHANGHAI = ZoneInfo("Asia/Shanghai")
ADDED = ("workflow_run_detail", "node_executions")
Rows = list[dict[str, Any]]


def plain(rows: Rows) -> Rows:
    """Rows as the log list gives them."""
    return [{key: value for key, value in row.items() if key not in ADDED} for row in rows]


def test_everything_as_json(tmp_path: Path, golden: Path, rows: Rows) -> None:
    """All rows with details and nodes give the same JSON."""
    count = old_script.save_json(
        tmp_path / "x" / "full.json", rows, before={"total": 40}, after={"has_more": False}
    )
    assert count == 40
    assert (tmp_path / "x" / "full.json").read_bytes() == (golden / "full.json").read_bytes()


def test_one_page_as_json(tmp_path: Path, golden: Path) -> None:
    """A page keeps the answer's keys before its rows."""
    page = json.loads((golden / "page2.json").read_text(encoding="utf-8"))
    data = page.pop("data")
    old_script.save_json(tmp_path / "page2.json", data, before=page, after={})
    assert (tmp_path / "page2.json").read_bytes() == (golden / "page2.json").read_bytes()


def test_console_json(golden: Path) -> None:
    """The console gets the same JSON and a line end."""
    page = json.loads((golden / "format_json.stdout").read_text(encoding="utf-8"))
    data = page.pop("data")
    assert old_script.json_text(data, before=page, after={}) + "\n" == (
        golden / "format_json.stdout"
    ).read_text(encoding="utf-8")


def test_markdown(tmp_path: Path, golden: Path, rows: Rows) -> None:
    """The whole document is the same, the time of writing included when it is."""
    at = datetime(2026, 11, 22, 9, 56, 14, tzinfo=SHANGHAI)
    old_script.save_markdown(tmp_path / "full.md", rows, Paging(40, 40), generated_at=at, tz=SHANGHAI)
    assert (tmp_path / "full.md").read_bytes() == (golden / "full.md").read_bytes()


def test_markdown_without_details(tmp_path: Path, golden: Path, rows: Rows) -> None:
    """Rows without details have their basics only."""
    at = datetime(2026, 11, 22, 9, 56, 15, tzinfo=SHANGHAI)
    failed = [row for row in plain(rows) if row["workflow_run"]["status"] == "failed"]
    old_script.save_markdown(tmp_path / "f.md", failed, Paging(1, 1), generated_at=at, tz=SHANGHAI)
    assert (tmp_path / "f.md").read_bytes() == (golden / "failed.md").read_bytes()


def test_csv(tmp_path: Path, golden: Path, rows: Rows) -> None:
    """All CSV files are the same but for the token speed, which the old script got wrong."""
    written = old_script.save_csv(tmp_path / "csv", rows, tz=SHANGHAI)
    assert [path.name for path in written] == [
        "问答类应用数-总览.csv",
        "问答类应用数-每日消息数.csv",
        "问答类应用数-用户列表.csv",
        "问答类应用数-用户问答对.csv",
    ]
    for path in written:
        expected = (golden / "csv" / path.name).read_bytes().replace(b"267.55", b"336.21")
        assert path.read_bytes() == expected, path.name
    assert sorted(path.name for path in (tmp_path / "csv").iterdir()) == sorted(path.name for path in written)


def test_console_table(golden: Path, rows: Rows) -> None:
    """Summary and table look the same."""
    text = old_script.summary_text(Paging(40, 5, 1, 5, has_more=True))
    text += old_script.table_text(plain(rows)[:5], details=False, tz=SHANGHAI)
    assert text == (golden / "table.stdout").read_text(encoding="utf-8")


def test_console_table_with_details(golden: Path, rows: Rows) -> None:
    """Details and the hint look the same."""
    text = old_script.summary_text(Paging(40, 3, 1, 3, has_more=True))
    text += old_script.table_text(rows[:3], details=True, tz=SHANGHAI) + old_script.HINT
    assert (golden / "table_details.stdout").read_text(encoding="utf-8").endswith(f"条日志\n{text}")


def test_no_rows(tmp_path: Path) -> None:
    """Nothing found is said, and written, without a crash."""
    assert old_script.table_text([], details=True, tz=SHANGHAI) == old_script.EMPTY
    assert json.loads(old_script.json_text([], before={"total": 0}, after={"has_more": False})) == {
        "total": 0,
        "data": [],
        "has_more": False,
    }
    at = datetime(2026, 11, 22, tzinfo=SHANGHAI)
    old_script.save_markdown(tmp_path / "e.md", [], Paging(0, 0), generated_at=at, tz=None)
    assert (tmp_path / "e.md").read_text(encoding="utf-8").endswith("| 否 |\n\n## 📋 日志详情\n")
    assert len(old_script.save_csv(tmp_path / "csv", [], tz=SHANGHAI)) == 4


BROKEN: Rows = [
    {"id": "l1", "workflow_run": None, "created_at": 1795219198},
    {
        "id": None,
        "workflow_run": {"id": "r", "status": None, "elapsed_time": None},
        "created_at": "Sat, 21 Nov",
    },
    joined_row(
        {"id": "l2", "workflow_run": {"id": "r2", "status": "weird", "elapsed_time": "x"}, "created_at": 1},
        detail={"id": None, "status": None, "inputs": "no json", "outputs": None, "elapsed_time": None},
        nodes=[{"node_type": "knowledge-retrieval", "outputs": None, "elapsed_time": None}, "not a node"],
    ),
    joined_row({"id": "l3", "created_at": None}, detail_error="gone", nodes_error="locked"),
]


@pytest.mark.parametrize("row", BROKEN)
def test_broken_rows(tmp_path: Path, row: dict[str, Any]) -> None:
    """Rows the old script crashed on are shown and counted by every output."""
    old_script.save_csv(tmp_path / "csv", [row], tz=SHANGHAI)
    at = datetime(2026, 11, 22, tzinfo=SHANGHAI)
    assert old_script.save_markdown(tmp_path / "b.md", [row], Paging(1, 1), generated_at=at, tz=SHANGHAI) == 1
    assert old_script.save_json(tmp_path / "b.json", [row], before={"total": 1}, after={}) == 1
    assert str(row["id"]) in old_script.table_text([row], details=True, tz=SHANGHAI)


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    """When a row cannot be had, the file from before stays and nothing else is left."""

    def failing() -> Any:
        yield {"id": 1}
        raise KeyError("source")

    target = tmp_path / "full.json"
    target.write_text("old", encoding="utf-8")
    with pytest.raises(KeyError):
        old_script.save_json(target, failing(), before={}, after={})
    assert [path.name for path in tmp_path.iterdir()] == ["full.json"]
    assert target.read_text(encoding="utf-8") == "old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full device")
def test_devices_are_written_directly(rows: Rows) -> None:
    """A device is not replaced by a file, and its failure names it."""
    with pytest.raises(StorageError, match="cannot write /dev/full"):
        old_script.save_json(Path("/dev/full"), rows, before={}, after={})
    assert Path("/dev/full").is_char_device()


def test_links_are_followed(tmp_path: Path) -> None:
    """A link stays a link to the file that is written."""
    (tmp_path / "link").symlink_to(tmp_path / "real")
    old_script.save_json(tmp_path / "link", [], before={}, after={})
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text(encoding="utf-8") == '{\n  "data": []\n}'
