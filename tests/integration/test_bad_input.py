"""Wrong words, wrong keys and wrong servers at the command line: what is said, where, and the exit status."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from loguru import logger
from simulated_dify import DAY, END, FINAL_MIX, LOGIN, LOGS, make_day

import flowledger_simulator as simulator
from flowledger.cli.main import main
from flowledger.dify.session import RetryPolicy
from flowledger.settings.model import VARIABLES
from flowledger_simulator import SimulatedServer, credentials

PLANTED_TOKEN = "app-planted-7Zk3Qp"
PLANTED_PASSWORD = "planted-pass-9Xw1Lm"
WINDOW = ("--after", DAY.isoformat(), "--before", END.isoformat())


@dataclass(frozen=True)
class Place:
    """A working directory with an environment of its own, and what the command line says in it."""

    folder: Path
    patch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]

    def put(self, values: Mapping[str, str]) -> None:
        """Set environment variables."""
        for name, value in values.items():
            self.patch.setenv(name, value)

    def reach(self, base_url: str, **values: str) -> None:
        """Set what reaches a simulated server's workflow app."""
        self.put(
            {
                "DIFY_BASE_URL": base_url,
                "DIFY_API_TOKEN": credentials.API_TOKEN,
                "DIFY_APP_ID": credentials.WORKFLOW_APP_ID,
                "DIFY_APP_NAME": "客服",
                "TIMEZONE": "UTC",
                **values,
            }
        )

    def run(self, *words: str) -> tuple[int, str, str]:
        """Run ``flowledger run --direct`` and give exit status, stdout and stderr."""
        self.capture.readouterr()
        logged: list[str] = []
        sink = logger.add(logged.append, level="TRACE", diagnose=True)
        try:
            with pytest.raises(SystemExit) as end:
                main(["run", "--direct", *words])
        finally:
            logger.remove(sink)
        said = self.capture.readouterr()
        return int(end.value.code or 0), said.out, said.err + "".join(logged)

    def files(self) -> set[str]:
        """Name all files below the outputs, those of the ledger and the log left out."""
        below = self.folder / "outputs"
        return {
            path.relative_to(below).as_posix()
            for path in below.rglob("*")
            if path.is_file() and not path.name.startswith("ledger.db") and path.parent.name != "logs"
        }


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Place:
    """Give an empty working directory and no variable of ours."""
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return Place(tmp_path, monkeypatch, capfd)


@contextmanager
def simulated(place: Place, faults: str = "", runs: int = 30, **values: str) -> Iterator[SimulatedServer]:
    """Serve a day and set what reaches it, with console access."""
    person = {
        "DIFY_CONSOLE_EMAIL": credentials.EMAIL,
        "DIFY_CONSOLE_PASSWORD": credentials.PASSWORD,
    }
    world = make_day(runs, mix=FINAL_MIX)
    with simulator.serve(world, faults=simulator.parse_faults(faults)) as server:
        place.reach(server.base_url, **{**person, **values})
        yield server


@pytest.mark.fault(35)
def test_every_wrong_setting_is_named_at_once_with_its_place(place: Place) -> None:
    """One start tells all that has to be mended, and where; no secret is quoted."""
    (place.folder / ".env").write_text(
        f"DIFY_API_TOKEN=Bearer {PLANTED_TOKEN}\nTIMEZONE=Mars/Olympus\nDIFY_CONSOLE_EMAIL=a@example.com\n"
        "DIFY_MAX_CONCURENCY=3\n"
    )
    place.put({"DIFY_BASE_URL": "ftp://dify.example.com", "REPORT_FORMATS": "csv,parchment"})
    status, out, err = place.run()
    assert (status, out) == (1, "")
    for wanted in (
        "DIFY_API_TOKEN in .env",
        "TIMEZONE in .env",
        "DIFY_MAX_CONCURENCY in .env: unknown variable, did you mean DIFY_MAX_CONCURRENCY?",
        "DIFY_BASE_URL in environment",
        "REPORT_FORMATS in environment",
        "DIFY_APP_ID is not set",
        "DIFY_CONSOLE_PASSWORD is not set",
    ):
        assert wanted in err
    assert PLANTED_TOKEN not in err
    assert not place.files()


@pytest.mark.parametrize(
    ("words", "known"),
    [
        (("--app", "nobody"), "客服"),
        (("--period", "fortnight"), "last_week"),
        (("--format", "parchment"), "markdown"),
        (("--status", "melted"), "partial-succeeded"),
        (("--after", "yesterday-ish"), "ISO 8601"),
        (("--after", "2025-03-02", "--before", "2025-03-01"), "swap them"),
        (("--period", "yesterday", "--after", "2025-03-01"), "custom"),
        (("--before", "2025-03-01"), "needs after"),
        (("--after", "2999-01-01"), "2999"),
        (("--no-such-option",), "no-such-option"),
    ],
)
def test_a_wrong_word_is_answered_with_the_known_ones(
    place: Place, words: tuple[str, ...], known: str
) -> None:
    """Exit status 2, the known words, and nothing started."""
    place.reach("http://127.0.0.1:9")
    status, out, err = place.run(*words)
    assert (status, out) == (2, "")
    assert known in err
    assert not place.files()


def test_an_unknown_zone_is_answered_with_examples(place: Place) -> None:
    """The zone of the command line is a setting, and its line says what one looks like."""
    place.reach("http://127.0.0.1:9")
    status, _, err = place.run("--timezone", "Mars/Olympus")
    assert status == 2
    assert "Mars/Olympus" in err
    assert "Asia/Shanghai" in err


def test_a_wrong_key_ends_with_status_one_and_says_what_to_do(place: Place) -> None:
    """The setting and the place in Dify are named; the key itself is not."""
    with simulated(place, DIFY_API_TOKEN=PLANTED_TOKEN):
        status, out, err = place.run(*WINDOW)
    assert (status, out) == (1, "")
    assert "DIFY_API_TOKEN" in err
    assert "API access" in err
    assert PLANTED_TOKEN not in err
    assert not place.files()


@pytest.mark.fault(8)
def test_a_host_that_does_not_listen_is_named(place: Place) -> None:
    """Exit status 1 after bounded tries, and no report."""
    place.patch.setattr(RetryPolicy, "_wait", lambda *_: 0.0)
    with simulator.serve(make_day(1)) as server:
        gone = server.base_url
    place.reach(gone)
    status, out, err = place.run(*WINDOW)
    assert (status, out) == (1, "")
    assert gone.removeprefix("http://") in err
    assert "DIFY_BASE_URL" in err
    assert not place.files()


@pytest.mark.fault(4)
def test_a_page_in_the_place_of_data_is_named_as_such(place: Place) -> None:
    """A log-in page of a proxy ends the run; it is never an empty report."""
    place.patch.setattr(RetryPolicy, "_wait", lambda *_: 0.0)
    with simulated(place, faults="html:1.0"):
        status, out, err = place.run(*WINDOW)
    assert (status, out) == (1, "")
    assert "HTML instead of JSON" in err
    assert "Sign in to continue" in err
    assert not place.files()


def test_json_prints_one_object_alone(place: Place) -> None:
    """Standard output is the result and nothing else; its paths are there."""
    with simulated(place) as server:
        status, out, _ = place.run(*WINDOW, "--json", "--format", "csv,json,markdown")
    result = json.loads(out)
    assert (status, out.count("\n")) == (0, 1)
    assert result["certificate"].items() >= {"certified": True, "expected": 30, "distinct": 30}.items()
    assert result["certificate"]["reason"]
    assert (result["logs_count"], result["detailed"], result["missing"]) == (30, 30, 0)
    assert result["requests"] == server.requests.total
    assert result["duration"] > 0
    assert all(Path(path).is_file() for path in result["report_paths"])


@pytest.mark.parametrize("strict", [True, False])
def test_strict_turns_a_missing_proof_into_status_three(place: Place, strict: bool) -> None:
    """The report is written all the same, and says what is not proved."""
    with simulated(place, faults=f"repeat:1.0@{LOGS}", runs=250):
        status, out, _ = place.run(*WINDOW, "--json", "--no-details", *(["--strict"] * strict))
    result = json.loads(out)
    assert status == (3 if strict else 0)
    assert not result["certificate"]["certified"]
    assert "ignored the bounds" in result["certificate"]["reason"]
    assert result["report_paths"]


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("language", "said"), [("en", "rows complete, details 0 of 30"), ("zh", "运行记录完整，明细 0/30")]
)
def test_strict_turns_missing_details_into_status_three(
    place: Place, strict: bool, language: str, said: str
) -> None:
    """Without console access there are no node executions: the rows are proved, the details are missing."""
    nobody = {"DIFY_CONSOLE_EMAIL": "", "DIFY_CONSOLE_PASSWORD": "", "REPORT_LANGUAGE": language}
    with simulated(place, "", 30, **nobody):
        status, out, _ = place.run(*WINDOW, "--json", *(["--strict"] * strict))
        _, table, _ = place.run(*WINDOW, *(["--strict"] * strict))
    result = json.loads(out)
    assert status == (3 if strict else 0)
    assert result["certificate"]["certified"]
    assert (result["completeness"], said in table) == (said, True)


def test_strict_says_nothing_where_all_is_proved(place: Place) -> None:
    """A certified window ends with status 0."""
    with simulated(place):
        assert place.run(*WINDOW, "--strict", "--no-details")[0] == 0


def test_planted_secrets_appear_nowhere(place: Place) -> None:
    """Key and password are in no output, log line, report or ledger file, whether they work or not."""
    with simulated(place, DIFY_CONSOLE_PASSWORD=PLANTED_PASSWORD) as server:
        app = server.world.app
        server.world.apps[app.id] = replace(app, api_token=PLANTED_TOKEN)
        place.put({"DIFY_API_TOKEN": PLANTED_TOKEN})
        formats = ("--format", "csv,json,markdown", "--save-data")
        status, out, err = place.run(*WINDOW, *formats)
        place.put({"DIFY_CONSOLE_PASSWORD": credentials.PASSWORD})
        again, more, errors = place.run(*WINDOW, *formats, "--json")
        access = [request.headers.get("cookie", "") for request in server.requests.recent]
    assert (status, again) == (0, 0)
    assert "console login refused" in out
    tokens = {pair.partition("=")[2] for cookies in access for pair in cookies.split("; ") if pair}
    assert tokens
    written = b"".join(path.read_bytes() for path in place.folder.rglob("*") if path.is_file())
    said = (out + err + more + errors).encode() + written
    for secret in (PLANTED_TOKEN, PLANTED_PASSWORD, credentials.PASSWORD, *tokens):
        assert secret.encode() not in said
    assert server.requests.count(LOGIN) == 2
