"""The old script's command line against a simulated Dify: its files and texts stay what they were."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from workplace import (
    DATASET,
    GOLDEN,
    PROJECT,
    bare_environment,
    forget_waits,
    legacy_server,
    move_to,
    zone_of_process,
)

import flowledger_simulator as simulator
from flowledger.cli.fetch_workflow_logs import main
from flowledger_simulator import credentials

APP_ID = "11111111-2222-4333-8444-555555555555"
CONSOLE = ("--console-email", credentials.EMAIL, "--console-password", credentials.PASSWORD)
EVERYTHING = ("--fetch-all", "--with-details", "--with-node-executions", *CONSOLE, "--app-id", APP_ID)
TWO_DETAILS = ("--limit", "2", "--with-node-executions", "--with-details", *CONSOLE)
ALL_AS_JSON = ("--fetch-all", "--output", "all.json")


@dataclass(frozen=True)
class Said:
    """What a call printed, and its exit status."""

    out: str
    err: str
    status: int


Call = Callable[..., Said]


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty folder, a terminal of 80 columns, and the zone the golden files were written in."""
    move_to(tmp_path, monkeypatch, {"COLUMNS": "80"})
    with zone_of_process("Asia/Shanghai"):
        yield


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Call the command in this process."""

    def run(*arguments: str) -> Said:
        status = 0
        try:
            main(arguments)
        except SystemExit as end:
            status = int(end.code or 0)
        return Said(*capsys.readouterr(), status)

    return run


@pytest.fixture(scope="module")
def old_server() -> Iterator[simulator.SimulatedServer]:
    """A Dify 1.9.1 with the data that the golden files were written from."""
    with simulator.serve(simulator.load_dataset(DATASET), version="1.9.1", options=legacy_server()) as server:
        yield server


@pytest.fixture
def fetch(call: Call, old_server: simulator.SimulatedServer) -> Call:
    """Call the command for the old server's app."""
    return lambda *arguments: call(*reaching(old_server), *arguments)


def reaching(server: simulator.SimulatedServer) -> tuple[str, ...]:
    """Give the required options for a server."""
    return ("--api-token", credentials.API_TOKEN, "--base-url", server.base_url)


def golden(name: str) -> str:
    """Give what the old script wrote, without its progress lines."""
    text = (GOLDEN / name).read_bytes().decode("utf-8")
    return "".join(line for line in text.splitlines(keepends=True) if "\r" not in line)


def golden_end(name: str) -> tuple[str, int]:
    """Give what the old script printed and its exit status, which is the last line."""
    text, _, status = golden(name).rpartition("exit ")
    return text, int(status)


def written(path: str) -> list[dict[str, Any]]:
    """Give the rows of a JSON file."""
    rows: list[dict[str, Any]] = json.loads(Path(path).read_text("utf-8"))["data"]
    return rows


def test_csv_files_are_the_old_ones(fetch: Call) -> None:
    """All four files are equal but for the token speed, which the old script got wrong."""
    said = fetch(*EVERYTHING, "--output-csv-dir", "pub_out/csv")
    assert (said.out, said.status) == (golden("csv.stdout"), 0)
    names = sorted(path.name for path in (GOLDEN / "csv").iterdir())
    assert sorted(path.name for path in Path("pub_out/csv").iterdir()) == names
    for name in names:
        expected = (GOLDEN / "csv" / name).read_bytes().replace(b"267.55", b"336.21")
        assert (Path("pub_out/csv") / name).read_bytes() == expected, name


def test_the_counter_goes_to_standard_error(fetch: Call) -> None:
    """Progress is shown, and standard output stays clean."""
    said = fetch("--limit", "2", "--with-details")
    assert "\r  处理日志 2/2...\n" in said.err
    assert "\r" not in said.out


def test_json_files_are_the_old_ones(fetch: Call) -> None:
    """Everything and one page: equal byte for byte."""
    said = fetch(*EVERYTHING, "--output", "pub_out/full.json")
    assert (said.out, said.status) == (golden("json.stdout"), 0)
    assert Path("pub_out/full.json").read_bytes() == (GOLDEN / "full.json").read_bytes()
    said = fetch("--limit", "10", "--page", "2", "--output", "pub_out/page2.json")
    assert (said.out, said.status) == (golden("page2.stdout"), 0)
    assert Path("pub_out/page2.json").read_bytes() == (GOLDEN / "page2.json").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "name", "stdout"),
    [
        (EVERYTHING, "full.md", "md.stdout"),
        (("--status", "failed", "--fetch-all"), "failed.md", "failed.stdout"),
    ],
)
def test_markdown_files_are_the_old_ones(
    fetch: Call, arguments: tuple[str, ...], name: str, stdout: str
) -> None:
    """They are equal but for the time of writing."""
    said = fetch(*arguments, "--output-md", f"pub_out/{name}")
    assert (said.out, said.status) == (golden(stdout), 0)
    time_line = re.compile(rb"(?m)^.*\xe7\x94\x9f\xe6\x88\x90\xe6\x97\xb6\xe9\x97\xb4.*$")  # 生成时间
    now, then = ((place / name).read_bytes() for place in (Path("pub_out"), GOLDEN))
    assert len(time_line.findall(now)) == 1
    assert time_line.sub(b"", now) == time_line.sub(b"", then)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("--limit", "5"), "table.stdout"),
        (
            ("--limit", "3", "--with-details", "--with-node-executions", *CONSOLE, "--app-id", APP_ID),
            "table_details.stdout",
        ),
        (("--limit", "2", "--format", "json"), "format_json.stdout"),
    ],
)
def test_the_console_shows_what_it_showed(fetch: Call, arguments: tuple[str, ...], name: str) -> None:
    """Table, details and JSON are equal."""
    said = fetch(*arguments)
    assert (said.out, said.status) == (golden(name), 0)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("--limit", "0"), "limit0.stdout"),
        (("--page", "0"), "page0.stdout"),
        (("--with-node-executions",), "no_console.stdout"),
    ],
)
def test_bad_values_are_refused_in_the_old_words(fetch: Call, arguments: tuple[str, ...], name: str) -> None:
    """A message on standard output, exit status 1, and nothing is asked."""
    said = fetch(*arguments)
    assert (said.out, said.status) == golden_end(name)


def test_a_wrong_token_is_told_in_the_servers_words(
    call: Call, old_server: simulator.SimulatedServer
) -> None:
    """The status and body stand in the message, the token does not."""
    said = call("--api-token", "app-refused", "--base-url", old_server.base_url)
    assert (said.out, said.status) == golden_end("bad_token.stdout")
    assert "app-refused" not in said.out + said.err


def test_a_missing_option_shows_the_old_usage(call: Call) -> None:
    """Argparse says the same and exits with 2."""
    said = call("--api-token", "app-x")
    assert (said.out + said.err, said.status) == golden_end("missing_arg.stdout")


def test_a_status_the_server_refuses_is_filtered_here(
    fetch: Call, old_server: simulator.SimulatedServer
) -> None:
    """``partial-succeeded`` is a 400 on the server, so it is never sent."""
    said = fetch("--status", "partial-succeeded", *ALL_AS_JSON)
    assert said.status == 0
    assert [row["workflow_run"]["status"] for row in written("all.json")] == ["partial-succeeded"]
    sent = [request.query for request in list(old_server.requests.recent)]
    assert not any("partial-succeeded" in str(query) for query in sent)


@pytest.mark.parametrize("page", [1, 2])
def test_a_page_of_what_is_filtered_here_is_a_page(fetch: Call, page: int) -> None:
    """Page numbers count the rows that are left."""
    said = fetch("--keyword", "退货", "--limit", "5", "--page", str(page), "--output", "p.json")
    assert said.status == 0
    whole = fetch("--keyword", "退货", *ALL_AS_JSON)
    assert whole.status == 0
    every = written("all.json")
    assert len(every) > 5
    assert [row["id"] for row in written("p.json")] == [row["id"] for row in every][5 * page - 5 : 5 * page]


def test_a_chinese_keyword_finds_inputs_and_outputs(fetch: Call) -> None:
    """Releases that search for stored escapes find nothing, so the filter is ours."""
    assert fetch("--keyword", "退货", "--with-details", *ALL_AS_JSON).status == 0
    rows = written("all.json")
    details = json.loads(DATASET.read_text("utf-8"))["details"]
    expected = [
        run_id
        for run_id, detail in details.items()
        if "退货" in json.dumps([detail["inputs"], detail["outputs"]], ensure_ascii=False)
    ]
    assert sorted(row["workflow_run"]["id"] for row in rows) == sorted(expected)


def test_keyword_and_session_id_together_mean_both(fetch: Call) -> None:
    """The server would drop one of them."""
    both = ("--keyword", "退货", "--end-user-session-id", "用户-1")
    assert fetch(*both, "--with-details", *ALL_AS_JSON).status == 0
    details = json.loads(DATASET.read_text("utf-8"))["details"]
    rows = written("all.json")
    assert [row["created_by_end_user"]["session_id"] for row in rows] == ["用户-1"]
    assert "退货" in details[rows[0]["workflow_run"]["id"]]["inputs"]["query"]


def test_bounds_are_inclusive(fetch: Call) -> None:
    """``--after`` and ``--before`` are UTC where they name no offset."""
    assert fetch(*ALL_AS_JSON).status == 0
    seconds = [row["created_at"] for row in written("all.json")]
    after, before = seconds[30], seconds[10]
    start, end = (datetime.fromtimestamp(second, UTC).isoformat() for second in (after, before))
    assert fetch("--after", start.removesuffix("+00:00"), "--before", end, *ALL_AS_JSON).status == 0
    assert [row["created_at"] for row in written("all.json")] == [
        at for at in seconds if after <= at <= before
    ]


def test_max_pages_bounds_fetch_all(fetch: Call) -> None:
    """Two pages of seven are the newest fourteen, and more are said to be there."""
    assert fetch("--limit", "7", "--max-pages", "2", *ALL_AS_JSON).status == 0
    document = json.loads(Path("all.json").read_text("utf-8"))
    newest = json.loads((GOLDEN / "full.json").read_text("utf-8"))["data"][:14]
    assert [row["id"] for row in document["data"]] == [row["id"] for row in newest]
    assert (document["total"], document["has_more"]) == (14, True)


def edited(folder: Path, edit: Callable[[dict[str, Any]], object]) -> simulator.World:
    """Load the old data set after a change."""
    data = json.loads(DATASET.read_text("utf-8"))
    edit(data)
    path = folder / "dataset.json"
    path.write_text(json.dumps(data), "utf-8")
    return simulator.load_dataset(path)


def lose_run(data: dict[str, Any]) -> None:
    """Let the newest log row outlive its run."""
    data["logs"][0]["workflow_run"] = None


def lose_outputs(data: dict[str, Any]) -> None:
    """Give every node of the newest run outputs of null."""
    for node in data["nodes"][data["logs"][0]["workflow_run"]["id"]]:
        node["outputs"] = None


@pytest.mark.parametrize("edit", [lose_run, lose_outputs])
@pytest.mark.parametrize(
    "output", [("--output-csv-dir", "csv"), ("--output-md", "x.md"), ("--output", "x.json"), ()]
)
def test_rows_the_old_script_crashed_on_are_kept(
    call: Call, tmp_path: Path, edit: Callable[[dict[str, Any]], object], output: tuple[str, ...]
) -> None:
    """``workflow_run: null`` and ``outputs: null`` reach every output."""
    with simulator.serve(edited(tmp_path, edit), version="1.9.1", options=legacy_server()) as server:
        said = call(*reaching(server), *EVERYTHING, *output)
    assert (said.status, said.err.count("Traceback")) == (0, 0)
    if "x.json" in output:
        assert len(written("x.json")) == 40
    if not output:
        assert "总记录数: 40" in said.out


@pytest.mark.parametrize("version", ["1.9.2", "1.12.1", "1.13.3"])
def test_the_console_login_of_newer_releases_works(call: Call, version: str) -> None:
    """Cookies and an encoded password give the same node executions as the old login."""
    with simulator.serve(simulator.load_dataset(DATASET), version=version, options=legacy_server()) as server:
        said = call(*reaching(server), *EVERYTHING, "--output", "all.json")
    assert (said.status, said.out.splitlines()[0]) == (0, golden("json.stdout").splitlines()[0])
    held = {row["id"]: row["node_executions"] for row in written("all.json")}
    for row in json.loads((GOLDEN / "full.json").read_text("utf-8"))["data"]:
        expected = [node["title"] for node in row["node_executions"]]
        assert [node["title"] for node in held[row["id"]]] == expected


def test_a_console_token_opens_the_old_console(call: Call, old_server: simulator.SimulatedServer) -> None:
    """Up to 1.9.1 the access token alone is enough, and no log-in is tried."""
    form = {"email": credentials.EMAIL, "password": credentials.PASSWORD}
    login = f"{old_server.base_url}/console/api/login"
    token = requests.post(login, json=form, timeout=10).json()["data"]["access_token"]
    before = old_server.requests.count("/console/api/login")
    wanted = ("--limit", "2", "--with-node-executions", "--app-id", APP_ID, "--output", "two.json")
    said = call(*reaching(old_server), "--console-token", token, *wanted)
    assert said.status == 0
    assert all(row["node_executions"] for row in written("two.json"))
    assert old_server.requests.count("/console/api/login") == before
    assert token not in said.out + said.err


def test_a_console_token_alone_is_refused_by_newer_releases(call: Call) -> None:
    """The rows say why their node executions are missing."""
    with simulator.serve(
        simulator.load_dataset(DATASET), version="1.12.1", options=legacy_server()
    ) as server:
        wanted = ("--limit", "2", "--with-node-executions", "--app-id", APP_ID, "--output", "two.json")
        said = call(*reaching(server), "--console-token", "not-enough", *wanted)
    assert said.status == 0
    assert [row["node_executions_error"] for row in written("two.json")] == ["console login refused"] * 2


def test_a_wrong_console_password_ends_the_call(call: Call, old_server: simulator.SimulatedServer) -> None:
    """The message says so on standard output, without the password."""
    wrong = ("--console-email", credentials.EMAIL, "--console-password", "not-the-password")
    said = call(*reaching(old_server), "--with-node-executions", *wrong, "--app-id", APP_ID)
    assert said.status == 1
    assert said.out.startswith("❌ 错误: 请求失败: 401 - ")
    assert "not-the-password" not in said.out + said.err


def test_fetch_all_is_complete_where_page_numbers_lose_rows(call: Call) -> None:
    """Rows of one second are shuffled from request to request, and still all of them come once."""
    world = simulator.make_world(simulator.Recipe(runs=600, ties=0.9, busiest_second=150, nodes=1))
    with simulator.serve(world, version="1.12.1", options=legacy_server()) as server:
        said = call(*reaching(server), "--fetch-all", "--limit", "100", "--output", "all.json")
    assert said.status == 0
    assert sorted(row["id"] for row in written("all.json")) == sorted(run.log_id for run in world.runs())


def test_the_app_id_is_found_by_name(fetch: Call) -> None:
    """Without ``--app-id`` the console is asked for the app that the token opens."""
    said = fetch(*TWO_DETAILS, "--output", "two.json")
    assert said.status == 0
    assert all(row["node_executions"] for row in written("two.json"))


def test_several_apps_of_one_name_need_the_id(call: Call, tmp_path: Path) -> None:
    """Nothing is guessed: the message names the option."""
    world = edited(tmp_path, lambda _: None)
    twin = simulator.SimulatedApp(
        "99999999-2222-4333-8444-555555555555", world.app.name, api_token="app-twin"
    )
    world.add_app(twin)
    with simulator.serve(world, version="1.9.1", options=legacy_server()) as server:
        said = call(*reaching(server), *TWO_DETAILS)
    assert said.status == 1
    assert said.out.splitlines()[-1].startswith("❌ 错误: 2 apps are called")
    assert "--app-id" in said.out


@pytest.mark.parametrize("nodes", [(), ("--with-node-executions", *CONSOLE)], ids=["key only", "console"])
def test_an_app_id_that_is_not_the_tokens_app_is_refused(call: Call, nodes: tuple[str, ...]) -> None:
    """Exit status 1 and a sentence with the right id and the option; nothing is written."""
    world = simulator.make_world(simulator.Recipe(runs=3))
    with simulator.serve(world, options=legacy_server()) as server:
        said = call(*reaching(server), *nodes, "--app-id", APP_ID, *ALL_AS_JSON)
    assert said.status == 1
    message = said.out.splitlines()[-1]
    assert message.startswith(
        f"❌ 错误: the key opens {world.app.name!r}, whose id is {world.app.id}, not {APP_ID}"
    )
    assert "set --app-id to the part after /app/" in message
    assert not Path("all.json").exists()


@pytest.mark.parametrize("wanted", [(), ("--fetch-all",)], ids=["a page", "all"])
def test_an_app_without_workflow_runs_is_refused(call: Call, wanted: tuple[str, ...]) -> None:
    """Its list would be empty for ever."""
    world = simulator.make_world(simulator.Recipe(runs=3))
    world.add_app(simulator.SimulatedApp(APP_ID, "an essay", "completion", api_token="app-essay"))
    with simulator.serve(world, options=legacy_server()) as server:
        said = call("--api-token", "app-essay", "--base-url", server.base_url, *wanted)
    assert said.status == 1
    assert "'an essay', which is of the kind completion" in said.out


@pytest.mark.parametrize("wanted", [(), ALL_AS_JSON], ids=["a page", "all"])
def test_an_unknown_account_is_an_error_as_dify_says(call: Call, wanted: tuple[str, ...]) -> None:
    """The status and the server's own words, as of any other parameter it refuses."""
    with simulator.serve(simulator.make_world(simulator.Recipe(runs=30)), options=legacy_server()) as server:
        said = call(*reaching(server), "--account", "nobody@example.com", *wanted)
        known = call(*reaching(server), "--account", credentials.EMAIL, *ALL_AS_JSON)
    assert said.status == 1
    assert said.out.rstrip() == (
        '❌ 错误: 请求失败: 400 - {"code": "invalid_param", '
        '"message": "Account not found: nobody@example.com", "status": 400}'
    )
    assert known.status == 0
    assert {row["created_by_account"]["email"] for row in written("all.json")} == {credentials.EMAIL}


def test_an_account_that_a_release_does_not_check_has_no_rows(fetch: Call) -> None:
    """1.9.1 knows no such error, so an unknown e-mail finds nothing."""
    said = fetch("--account", "nobody@example.com", *ALL_AS_JSON)
    assert (said.status, written("all.json")) == (0, [])


def test_an_unreachable_host_is_told(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the host, and the option instead of a setting that plays no part here."""
    forget_waits(monkeypatch)
    said = call("--api-token", credentials.API_TOKEN, "--base-url", "http://127.0.0.1:9")
    assert said.status == 1
    assert said.out.startswith("❌ 错误: 127.0.0.1:9: no connection")
    assert said.out.endswith("check that Dify runs and that --base-url names its address and port\n")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--base-url", "dify.example.com"), "--base-url"),
        (("--before", "tomorrow"), "tomorrow"),
        (("--max-pages", "0", "--fetch-all"), "--max-pages"),
    ],
)
def test_other_bad_values_are_told(fetch: Call, arguments: tuple[str, ...], word: str) -> None:
    """Exit status 1 and a message that names what is wrong."""
    said = fetch(*arguments)
    assert said.status == 1
    assert "错误: " in said.out
    assert word in said.out


def test_a_page_instead_of_data_is_told(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy's page with status 200 is no data."""
    forget_waits(monkeypatch)
    world = simulator.make_world(simulator.Recipe(runs=3))
    with simulator.serve(world, faults=simulator.parse_faults("html:1.0")) as server:
        said = call(*reaching(server))
    assert said.status == 1
    assert said.out.startswith("❌ 错误: ")
    assert "HTML instead of JSON" in said.out


@pytest.mark.parametrize("option", ["--output", "--output-md", "--output-csv-dir"])
def test_an_output_that_cannot_be_written_is_told(fetch: Call, option: str) -> None:
    """A file stands where a folder should be: the message names it."""
    Path("file").write_text("in the way", "utf-8")
    said = fetch("--limit", "2", option, "file/below")
    assert said.status == 1
    assert said.out.splitlines()[-1].startswith("❌ 错误: cannot write")
    assert "file" in said.out


def test_nothing_found_makes_no_csv_files(fetch: Call) -> None:
    """The old script said so and exited with 0."""
    said = fetch("--fetch-all", "--after", "2026-11-21T23:00:00Z", "--output-csv-dir", "csv")
    assert (said.status, said.out.splitlines()[-1]) == (0, "⚠️  没有日志数据，无法生成 CSV 报告")
    assert not Path("csv").exists()


def test_a_file_named_by_its_path_works_as_a_process(old_server: simulator.SimulatedServer) -> None:
    """``python scripts/fetch_workflow_logs.py`` is the command that people have in their crontabs."""
    script = PROJECT / "scripts" / "fetch_workflow_logs.py"
    done = subprocess.run(
        [sys.executable, str(script), *reaching(old_server), "--limit", "5"],
        env=bare_environment() | {"TZ": "Asia/Shanghai"},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode("utf-8") == golden("table.stdout")
