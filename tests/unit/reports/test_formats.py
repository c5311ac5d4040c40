"""All registered report formats, whatever the texts."""

import csv
import json
import re
import resource
import shutil
import subprocess
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowledger.domain.figures import Figures, FiguresCounter
from flowledger.domain.report_heading import Heading, count_turns
from flowledger.domain.runs import Creator, Detailed, Entry, Missing, NodeExecution, RunStatus
from flowledger.domain.spreadsheets import defuse
from flowledger.errors import StorageError, UsageError
from flowledger.plugins import REPORT_FORMATS, load
from flowledger.ports import ReportFormat
from flowledger.reports.catalogue import EN, ZH, texts_in
from flowledger.reports.cells import EXCEL_LIMIT
from flowledger.reports.csv_files import CsvFormat
from flowledger.reports.markdown import LISTED_RUNS, MarkdownFormat

FORMATS = sorted(REPORT_FORMATS)
NASTY = (
    "=cmd|' /C calc'!A0",
    "＋1",
    "  @SUM(A1)",
    "\ttab",
    "\rcr",
    "nul\x00 esc\x1b",
    "lone \ud800 surrogate",
    "\ufeffbom",
    "\u202ertl",
    "a|b\r\nc",
    "```\n<script>alert(1)</script>\n````",
    "![x](http://e/?q) <img src=x>",
    "😀" * 9,
    '{"a": NaN}',
    "NaN",
    "[" * 2000,
    "12345678901234567890123",
)
TEXTS = st.one_of(st.sampled_from(NASTY), st.text(alphabet=st.characters(), max_size=30))


def render(name: str, heading: Heading, directory: Path, entries: list[Entry]) -> list[Path]:
    """Write a report as a flow does."""
    counter = FiguresCounter(heading.tz, now=heading.generated_at)
    report_format = load("report format", name)()
    directory.mkdir(parents=True, exist_ok=True)
    with report_format.begin(heading, directory) as writer:
        for entry in entries:
            writer.add(entry)
            counter.add(entry)
        return list(writer.finish(counter.figures()))


@pytest.mark.parametrize("name", FORMATS)
def test_conforms(name: str, heading: Heading, tmp_path: Path, make_entry: Any) -> None:
    """A format writes exactly the files it names, into the directory it was given."""
    report_format = load("report format", name)()
    assert isinstance(report_format, ReportFormat)
    assert report_format.name == name
    paths = render(name, heading, tmp_path / "r", [make_entry(1), make_entry(2, missing="no console access")])
    assert sorted(paths) == sorted((tmp_path / "r").iterdir())
    text = b"".join(path.read_bytes() for path in paths).decode("utf-8")
    assert ("no console access" if name in ("json", "data") else "没有控制台权限") in text


@pytest.mark.fault(17)
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("language", ["zh", "en"])
def test_odd_runs(name: str, language: str, heading: Heading, tmp_path: Path, make_entry: Any) -> None:
    """Gone, unknown and half-known runs are shown, also without any certificate or run."""
    odd_node = NodeExecution(0, "", "", "brand-new", "", "retry", outputs=None, metadata=[1])
    entries = [
        make_entry(1, gone=True, status=RunStatus.INTERRUPTED, source_status="", missing="deleted"),
        make_entry(2, status=RunStatus.FAILED, source_status="weird", error="a | b\n<b>", elapsed_s=None),
        replace(make_entry(3), detail=Detailed(None, None, Missing("too old"), {})),
        replace(make_entry(4), detail=Detailed({}, None, [odd_node], {})),
        make_entry(5, creator=None, total_tokens=None, raw=b'{"id": "x", "conversation_id": "c"}'),
    ]
    plain = replace(heading, language=language, certificate=None, notes=(), conversation_turns={"c": 1})
    paths = render(name, plain, tmp_path / "full", entries)
    body = b"".join(path.read_bytes() for path in paths).decode("utf-8-sig", "strict")
    assert "weird" in body or "run-2" in body
    assert render(name, plain, tmp_path / "empty", [])


@pytest.mark.fault(21, 22)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(question=TEXTS, answer=TEXTS)
def test_csv_cells_come_back(
    question: str, answer: str, heading: Heading, make_entry: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The csv module reads back every cell as it was defused, and no cell starts a formula."""
    paths = render("csv", heading, tmp_path_factory.mktemp("csv"), [make_entry(1, question, answer)])
    pairs = next(path for path in paths if "问答对" in path.name)
    with pairs.open(encoding="utf-8-sig", newline="") as file:
        table = list(csv.reader(file))
    assert {len(row) for row in table} == {13}
    assert table[3][4] == defuse(question)
    assert table[3][6] == defuse(answer)
    cells = [cell for row in table for cell in row]
    formulas = [cell for cell in cells if re.match(r"\s*[=+\-@＝＋－＠]", cell)]
    # The one formula there is is that of a text, which nothing inside can leave.
    assert all(re.fullmatch(r'="(?:[^"]|"")*"', cell) for cell in formulas)


@pytest.mark.fault(21)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(question=TEXTS, answer=TEXTS)
def test_json_is_strict(
    question: str, answer: str, heading: Heading, make_entry: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Every text survives in strict JSON; only lone surrogates are replaced."""
    entry = make_entry(1, question, answer)
    (path,) = render("json", heading, tmp_path_factory.mktemp("json"), [entry])

    def refuse(token: str) -> Any:
        raise AssertionError(token)

    document = json.loads(path.read_bytes(), parse_constant=refuse)
    assert list(document)[:3] == ["total", "data", "has_more"]
    shown = document["data"][0]["workflow_run_detail"]["outputs"]["text"]
    assert shown == answer.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


@pytest.mark.fault(21, 23)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(question=TEXTS, answer=TEXTS)
def test_markdown_is_inert(
    question: str, answer: str, heading: Heading, make_entry: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Outside fences no text makes tags, links or cells of its own; every fence is closed."""
    entry = make_entry(1, question, answer)
    summary, details = render("markdown", heading, tmp_path_factory.mktemp("md"), [entry])
    inert_prose(summary)
    titles = [line for line in inert_prose(details) if re.match(r"\| (标题|创建者) ", line)]
    assert [len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in titles] == [3, 3]


def inert_prose(path: Path) -> list[str]:
    """Return the lines outside of fences, after checking that no foreign text has become markup in them."""
    document = path.read_bytes().decode()
    assert "\x00" not in document
    prose, fence = [], ""
    for line in document.split("\n"):
        if opened := re.fullmatch(r"(`{3,})json", line):
            fence = opened[1]
        elif fence:
            assert line == fence or line.strip() != fence
            fence = "" if line == fence else fence
        else:
            prose.append(line)
    assert not fence
    assert not re.search(r"<(?!br>)", "\n".join(prose))
    assert not re.search(r"(?<!\\)\]\(", "\n".join(prose))
    return prose


def test_exact_numbers(heading: Heading, make_entry: Any, tmp_path: Path) -> None:
    """Integers beyond 64 bits, tiny floats and NaN of the source's answer stay what they were."""
    raw = b'{"data": [{"outputs": {"big": 123456789012345678901234567890, "tiny": 1e-7}}]}'
    odd = b'{"data": [{"outputs": {"nan": NaN, "inf": -Infinity}}]}'
    entries = []
    for number, body in enumerate((raw, odd)):
        entry = make_entry(number)
        entries.append(replace(entry, detail=Detailed({}, {}, entry.detail.nodes, {"nodes": body})))
    (path,) = render("json", heading, tmp_path, entries)
    exact, loose = (row["node_executions"][0]["outputs"] for row in json.loads(path.read_bytes())["data"])
    assert exact == {"big": 123456789012345678901234567890, "tiny": 1e-7}
    assert loose == {"nan": "NaN", "inf": "-Infinity"}


def test_raw_rows_stay(heading: Heading, make_entry: Any, tmp_path: Path) -> None:
    """JSON shows the source's row, brought up to date where the run has ended since it was listed."""
    raw = {"id": "log-1", "workflow_run": {"id": "run-1", "status": "running", "triggered_from": "app-run"}}
    entry = make_entry(1, raw=json.dumps(raw).encode())
    (path,) = render("json", heading, tmp_path, [entry])
    run = json.loads(path.read_bytes())["data"][0]["workflow_run"]
    assert (run["status"], run["triggered_from"], run["total_tokens"]) == ("succeeded", "app-run", 30)


def test_details_not_wanted_are_not_missing(heading: Heading, make_entry: Any, tmp_path: Path) -> None:
    """A report without details shows neither details nor reasons for their absence."""
    plain = replace(heading, with_details=False, with_nodes=False)
    for name in ("json", "markdown"):
        (path,) = render(name, plain, tmp_path / name, [make_entry(1), make_entry(2, missing="why")])
        assert "run_detail" not in path.read_text(encoding="utf-8").split('"has_more"')[0]


def test_turns_count_down(heading: Heading, make_entry: Any, tmp_path: Path) -> None:
    """Newest first, the turns of a conversation are numbered by when they were asked."""
    entries = [make_entry(number) for number in range(4)]
    for at, conversation in enumerate(("a", "b", "a", "a")):
        inputs = {"sys.conversation_id": conversation}
        entries[at] = replace(entries[at], detail=Detailed(inputs, {}, [], {}))
    chat = replace(heading, conversation_turns=count_turns(entries))
    paths = render("csv", chat, tmp_path, entries)
    with next(path for path in paths if "问答对" in path.name).open(encoding="utf-8-sig", newline="") as file:
        table = list(csv.reader(file))[3:7]
    assert [(row[2], row[3]) for row in table] == [("a", "3"), ("b", "1"), ("a", "2"), ("a", "1")]
    assert chat.conversation_turns == {"a": 3, "b": 1}


@pytest.mark.fault(19)
def test_long_cells_are_cut_and_said(heading: Heading, make_entry: Any, tmp_path: Path) -> None:
    """A cell holds what Excel holds, ends with a note, and the notes count it; JSON holds the whole text."""
    paths = render("csv", heading, tmp_path / "csv", [make_entry(1, answer="😀" * 40_000)])
    with next(path for path in paths if "问答对" in path.name).open(encoding="utf-8-sig", newline="") as file:
        cell = list(csv.reader(file))[3][6]
    assert len(cell.encode("utf-16-le")) // 2 <= EXCEL_LIMIT
    assert "40000" in cell
    assert "单元格：1 个" in (tmp_path / "csv" / "说明.txt").read_text(encoding="utf-8-sig")
    (whole,) = render("json", heading, tmp_path / "json", [make_entry(1, answer="😀" * 40_000)])
    assert "😀" * 40_000 in whole.read_text(encoding="utf-8")


def test_uncertified_is_said(heading: Heading, make_entry: Any, tmp_path: Path) -> None:
    """A report without proof never looks complete."""
    assert heading.certificate
    doubtful = replace(heading, certificate=replace(heading.certificate, certified=False, reason="39 of 40"))
    for name in ("csv", "json", "markdown"):
        paths = render(name, doubtful, tmp_path / name, [make_entry()])
        text = "".join(path.read_text(encoding="utf-8") for path in paths)
        assert "39 of 40" in text
        assert "未能证明完整" in text or '"certified": false' in text


def test_languages_say_the_same() -> None:
    """Both catalogues have the same keys, placeholders and numbers of columns."""
    assert list(ZH) == list(EN)
    for key, text in ZH.items():
        assert re.findall(r"{\w+}", text) == re.findall(r"{\w+}", EN[key]), key
        if key.endswith("_columns"):
            assert text.count(",") == EN[key].count(",")
    with pytest.raises(UsageError, match="one of en, zh"):
        texts_in("fr")


@pytest.mark.parametrize("name", FORMATS)
def test_no_directory(name: str, heading: Heading, tmp_path: Path) -> None:
    """A file that cannot be written is named in the error."""
    with (
        pytest.raises(StorageError, match=re.escape(str(tmp_path / "gone"))),
        load("report format", name)().begin(heading, tmp_path / "gone"),
    ):
        pass


@contextmanager
def measured() -> Iterator[list[int]]:
    """Give the peak of memory in bytes, once the context has ended."""
    peak: list[int] = []
    tracemalloc.start()
    try:
        yield peak
        peak.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


@pytest.mark.fault(29)
@pytest.mark.parametrize("name", FORMATS)
def test_memory_is_flat(name: str, heading: Heading, make_entry: Any, tmp_path: Path) -> None:
    """Three times the runs take no more memory, once every buffer is full."""

    def write(runs: int) -> int:
        directory = tmp_path / str(runs)
        directory.mkdir()
        counter = FiguresCounter(heading.tz, now=heading.generated_at)
        with measured() as peak, load("report format", name)().begin(heading, directory) as writer:
            for number in range(runs):
                entry = make_entry(number, "user", "x" * 6000, elapsed_s=Decimal(number))
                writer.add(entry)
                counter.add(entry)
            writer.finish(counter.figures())
        return peak[0]

    write(10)
    assert write(300) < write(100) + 100_000


def test_empty_figures_have_no_speed() -> None:
    """Nothing counted divides by nothing."""
    assert Figures().total_tokens_per_second == Figures().runs_per_conversation == 0
    assert Figures().tokens_per_second is None


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.fault(25)
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("runs", [1, 40])
def test_a_full_disk_is_named(
    name: str, runs: int, heading: Heading, tmp_path: Path, make_entry: Any
) -> None:
    """Whether a write, a flush or a close fails, the error names the file."""
    entries = [make_entry(number, answer="x" * 5000, raw=b'"%s"' % (b"x" * 5000)) for number in range(runs)]
    with pytest.raises(StorageError, match=re.escape(str(tmp_path))), disk_of(1000):
        render(name, heading, tmp_path, entries)


@pytest.mark.fault(19)
def test_truncation_is_shown(heading: Heading, make_entry: Any, tmp_path: Path) -> None:
    """What the source itself has cut is flagged in Markdown and JSON."""
    entry = make_entry()
    node = replace(entry.detail.nodes[0], truncated=("outputs",))
    entry = replace(entry, detail=replace(entry.detail, nodes=[node]))
    _, markdown = render("markdown", heading, tmp_path / "md", [entry])
    assert "| 来源已截断 | 输出 |" in markdown.read_text(encoding="utf-8")
    (document,) = render("json", heading, tmp_path / "json", [entry])
    assert json.loads(document.read_bytes())["data"][0]["node_executions"][0]["outputs_truncated"] is True


USER_IDS = (
    "110101199003078123",
    "1234567890123456789",
    "0012345",
    "1E5",
    "007",
    "13800138000",
    "1,234",
    "5%",
)


def user_cells(paths: list[Path]) -> list[str]:
    """The column of user ids of the user list."""
    path = next(path for path in paths if "用户列表" in path.name)
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [row[0] for row in csv.reader(file)][1:]


def entries_of_users(make_entry: Any) -> list[Any]:
    """A run of each user."""
    made = [make_entry(number) for number in range(len(USER_IDS))]
    creators = [Creator("end_user", session_id=user) for user in USER_IDS]
    return [
        replace(each, run=replace(each.run, creator=creator))
        for each, creator in zip(made, creators, strict=True)
    ]


def test_user_ids_of_digits_are_texts(heading: Heading, make_entry: Any, tmp_path: Path) -> None:
    """A spreadsheet shows them digit for digit; the option for programs leaves them as they are."""
    entries = entries_of_users(make_entry)
    assert user_cells(render("csv", heading, tmp_path / "shown", entries)) == [
        f'="{user}"' for user in USER_IDS
    ]
    counter = FiguresCounter(heading.tz, now=heading.generated_at)
    (tmp_path / "raw").mkdir()
    with CsvFormat(raw_values=True).begin(heading, tmp_path / "raw") as writer:
        for each in entries:
            writer.add(each)
            counter.add(each)
        paths = list(writer.finish(counter.figures()))
    assert user_cells(paths) == list(USER_IDS)


@pytest.mark.skipif(shutil.which("soffice") is None, reason="LibreOffice is not installed")
def test_libreoffice_shows_user_ids_digit_for_digit(
    heading: Heading, make_entry: Any, tmp_path: Path
) -> None:
    """What is opened and saved there has the ids, and each is a text."""
    paths = render("csv", heading, tmp_path / "csv", entries_of_users(make_entry))
    users = next(path for path in paths if "用户列表" in path.name).rename(tmp_path / "users.csv")
    home = f"-env:UserInstallation=file://{tmp_path}/office"
    words = ["soffice", home, "--headless", "--convert-to", "xlsx", "--outdir", str(tmp_path), str(users)]
    subprocess.run(words, check=True, capture_output=True, timeout=200)  # a fixed command
    with ZipFile(tmp_path / "users.xlsx") as book:
        sheet = book.read("xl/worksheets/sheet1.xml").decode()
    cells = re.findall(r'<c r="A\d+"[^>]* t="str"[^>]*>.*?<v>(.*?)</v>', sheet)
    assert cells == list(USER_IDS)


def test_the_summary_in_markdown_stays_short(heading: Heading, make_entry: Any, tmp_path: Path) -> None:
    """A line a run, the newest only, and it says so; details are beside it or not at all."""
    entries = [make_entry(number, "user", "x" * 9000) for number in range(LISTED_RUNS + 3)]
    summary, details = render("markdown", heading, tmp_path / "both", entries)
    text = summary.read_text()
    assert len(text) < 200 * LISTED_RUNS
    assert details.name in text
    assert f"仅列出最新的 {LISTED_RUNS} 条" in text
    assert details.read_text().count("x" * 9000) >= LISTED_RUNS + 3
    (tmp_path / "alone").mkdir()
    with MarkdownFormat(details=False).begin(heading, tmp_path / "alone") as writer:
        assert [path.name for path in writer.finish(Figures())] == ["report.md"]
