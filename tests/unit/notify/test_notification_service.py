"""Outcomes are told once, to everyone who can be reached, and never at the run's expense."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fake_channels import (
    NOON,
    RESULT,
    UNCERTIFIED,
    BrokenOutbox,
    Clock,
    Failing,
    Remembering,
    busy,
    refusing,
    service,
)
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from flowledger.domain.messages import Attachment, Message, Notice, Occasion
from flowledger.errors import LedgerError, StorageError, UsageError
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.notify.notices import BareLinks, Subject
from flowledger.notify.templates import Templates


@pytest.fixture
def log() -> Iterator[list[str]]:
    """The lines that the program logs."""
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message).strip()), format="{level} {message}")
    yield lines
    logger.remove(sink)


@dataclass(frozen=True)
class Links(BareLinks):
    """Links and attaches whatever it is asked for; a reader that fails is one too."""

    broken: bool = False

    def link(self, location: str) -> str:
        """Give an address."""
        if self.broken:
            raise StorageError(f"{location}: no bucket")
        return f"https://files.example.com{location}"

    def attachments(self, locations: Any) -> Any:
        """Attach the first."""
        return [Attachment("a.csv", "reports/a.csv", 3)]

    def read(self, attachment: Attachment) -> bytes:
        """Give its content."""
        if self.broken:
            raise StorageError(f"{attachment.stored_name}: no bucket")
        return b"a,b"


def test_a_success_is_one_message_with_figures_and_reports() -> None:
    """Figures, certificate and the links of all reports stand in the same message, which is not urgent."""
    channel = Remembering()
    assert service({"dingtalk": channel}, report_links=Links()).notify_success("flow", RESULT) is True
    (message,) = channel.sent
    assert message.subject == "[Flowledger] sales · yesterday 2026-01-05: 12 runs, 2 did not succeed"
    assert "- **Runs**: 12" in message.body
    assert "certified complete: source 12, held 12" in message.body
    assert "[a.csv](https://files.example.com/reports/a.csv)" in message.body
    assert message.urgent is False


def test_a_path_on_this_machine_is_no_link() -> None:
    """Of what waits for its storage, only what has an address already is linked."""
    channel = Remembering()
    result = {
        **RESULT,
        "kept_locally": True,
        "report_paths": ["/unsent/files/reports/a.csv", "s3://bucket/reports/a.md"],
        "notes": [
            "kept on this machine until the storage takes it; the next run uploads it: storage away: x"
        ],
    }
    assert service({"webhook": channel}).notify_success("flow", result)
    (message,) = channel.sent
    assert message.data["links"] == {"a.md": "s3://bucket/reports/a.md"}
    assert "unsent" not in message.body
    assert service({"webhook": channel}).notify_success("flow", RESULT)
    assert channel.sent[1].data["links"] == {"a.csv": "/reports/a.csv", "a.md": "/reports/a.md"}


def test_what_is_not_certified_is_told_urgently() -> None:
    """The reason and what to do stand in the message."""
    channel = Remembering()
    service({"wechat": channel}).notify_success("flow", UNCERTIFIED)
    (message,) = channel.sent
    assert message.urgent
    assert "NOT certified: rows moved" in message.body
    assert "flowledger run --app sales --after 2026-01-05T00:00:00" in message.body


def test_a_failure_is_told_urgently_with_its_error() -> None:
    """The error's own text is the reason; one that nobody foresaw is named by its class."""
    channel = Remembering()
    notifier = service({"email": channel})
    assert notifier.notify_failure("flow", LedgerError("the ledger is full: free some space"))
    assert channel.sent[0].urgent
    assert "Reason: the ledger is full: free some space" in channel.sent[0].body
    other = replace(notifier, subject=replace(notifier.subject, run_id="run-2"))
    assert other.notify_failure("flow", KeyError("rows"))
    assert "Reason: KeyError: 'rows'" in channel.sent[1].body


def test_a_report_can_be_told_by_itself() -> None:
    """Its link stands in the message."""
    channel = Remembering()
    assert service({"feishu": channel}, report_links=Links()).notify_report_ready("/reports/w.csv", "csv")
    assert "(https://files.example.com/reports/w.csv)" in channel.sent[0].body


def test_the_change_against_the_period_before_is_told() -> None:
    """Counts that are known for both are compared; what is unknown is left out."""
    channel = Remembering()
    before = {"runs": 10, "failed": 0, "total_tokens": "many"}
    service({"email": channel}, previous_figures=lambda _: before).notify_success("flow", RESULT)
    body = channel.sent[0].body
    assert "Runs: 12 (before 10, +20.0%)" in body
    assert "Not successful: 2 (before 0, +2)" in body
    assert "Tokens: 4,200\n" in body


def test_the_same_outcome_is_told_once() -> None:
    """Whoever tells it again, the answer is that everyone has it."""
    channel = Remembering()
    notifier = service({"email": channel})
    assert (notifier.notify_success("flow", RESULT), notifier.notify_success("flow", RESULT)) == (
        True,
        True,
    )
    assert len(channel.sent) == 1


def test_different_outcomes_of_one_run_are_told_each() -> None:
    """A run that failed and succeeded when it was tried again is told both times."""
    channel = Remembering()
    notifier = service({"email": channel})
    notifier.notify_failure("flow", "away")
    notifier.notify_success("flow", RESULT)
    assert [message.urgent for message in channel.sent] == [True, False]


def test_without_a_run_every_call_tells() -> None:
    """A caller from outside has no run that would make two calls the same."""
    channel, clock = Remembering(), Clock()
    notifier = service({"email": channel}, subject=Subject(), clock=clock)
    notifier.notify_failure("job", "away")
    clock.wind(seconds=1)
    notifier.notify_failure("job", "away")
    assert len(channel.sent) == 2


BEHAVIOURS = st.sampled_from(["accepts", "busy", "refuses", "breaks"])


def channel_that(behaviour: str) -> Failing:
    """Give a channel by what it does."""
    channels: dict[str, Callable[[], Failing]] = {
        "accepts": Failing,
        "busy": busy,
        "refuses": refusing,
        "breaks": lambda: Failing(error=RuntimeError("https://robot.example.com/?key=planted")),
    }
    return channels[behaviour]()


@given(st.lists(BEHAVIOURS, max_size=6), st.booleans(), st.integers(1, 3))
def test_whatever_channels_fail_the_others_get_exactly_one(
    behaviours: list[str], with_ledger: bool, times: int
) -> None:
    """No channel keeps another from its message, with or without a ledger that works."""
    channels = {f"email-{number}": channel_that(each) for number, each in enumerate(behaviours)}
    outbox = SqlLedger.open("memory://", {}) if with_ledger else BrokenOutbox()
    notifier = service(channels, outbox=outbox)
    answers = [notifier.notify_success("flow", RESULT) for _ in range(times if with_ledger else 1)]
    assert answers == [set(behaviours) <= {"accepts"}] * len(answers)
    for behaviour, channel in zip(behaviours, channels.values(), strict=True):
        assert len(channel.sent) == (behaviour == "accepts")
        assert channel.tried == 1


def test_what_cannot_be_sent_waits_and_goes_with_the_next_run(log: list[str]) -> None:
    """A channel that is down costs a try for each run, and its message arrives once it is up."""
    channel, clock = busy(), Clock()
    notifier = service({"email": channel}, clock=clock)
    assert notifier.notify_success("flow", RESULT) is False
    assert notifier.send_waiting() == 0
    assert channel.tried == 1
    channel.error = None
    clock.wind(minutes=2)
    assert notifier.send_waiting() == 1
    assert [message.message_id for message in channel.sent] == ["run-1-success"]
    assert notifier.send_waiting() == 0
    assert [line.partition(":")[0] for line in log] == [
        "WARNING message run-1-success through email",
        "INFO message run-1-success through email",
    ]


def test_the_wait_grows_and_has_an_end() -> None:
    """After a week the letter is given up, visibly, with the last problem."""
    channel, clock, ledger = busy(), Clock(), SqlLedger.open("memory://", {})
    notifier = service({"email": channel}, clock=clock, outbox=ledger)
    notifier.notify_success("flow", RESULT)
    waits = []
    while waiting := ledger.outbox_messages(waiting=True):
        waits.append(waiting[0].not_before - clock.now)
        clock.now = waiting[0].not_before
        notifier.send_waiting()
    assert waits[:4] == [timedelta(minutes=minutes) for minutes in (1, 2, 4, 8)]
    assert max(waits) == timedelta(hours=6)
    (letter,) = ledger.outbox_messages(waiting=False)
    assert letter.given_up
    assert letter.problem.startswith("given up after 20 tries")
    assert letter.problem.endswith("the server is away")


def test_a_channel_says_how_long_to_wait() -> None:
    """Its wait is kept where it is longer than ours, but an absurd one is cut to a day."""
    for asked, kept in ((600, 600), (1e12, 86_400), (-5, 60)):
        ledger = SqlLedger.open("memory://", {})
        service({"email": busy(asked)}, outbox=ledger).notify_success("flow", RESULT)
        assert ledger.outbox_messages(waiting=True)[0].not_before == NOON + timedelta(seconds=kept)


def test_a_refused_message_is_given_up_at_once(log: list[str]) -> None:
    """It is not tried again; the reason stays in the ledger and is in the log once."""
    channel, clock, ledger = refusing(), Clock(), SqlLedger.open("memory://", {})
    notifier = service({"email": channel}, clock=clock, outbox=ledger)
    assert notifier.notify_success("flow", RESULT) is False
    clock.wind(days=1)
    assert notifier.send_waiting() == 0
    assert channel.tried == 1
    assert ledger.outbox_messages(waiting=False)[0].problem == str(channel.error)
    assert [line for line in log if "check the webhook" in line] == [
        f"ERROR message run-1-success through email: given up: {channel.error}; see flowledger notify list"
    ]


def test_a_channel_that_has_failed_is_left_alone_for_the_round() -> None:
    """Ten waiting letters for a dead mail server cost one timeout, and none of them its life."""
    channel, clock, ledger = busy(), Clock(), SqlLedger.open("memory://", {})
    for number in range(10):
        notifier = service(
            {"email": channel}, clock=clock, outbox=ledger, subject=Subject(run_id=str(number))
        )
        notifier.notify_success("flow", RESULT)
        clock.wind(hours=7)
    tried = channel.tried
    assert notifier.send_waiting() == 0
    assert channel.tried == tried + 1
    assert len(ledger.outbox_messages(waiting=True)) == 10


def test_letters_of_other_apps_are_carried_as_well() -> None:
    """A message that waits for a channel this app does not use goes with this app's run."""
    mail, robot, clock, ledger = busy(), Remembering(), Clock(), SqlLedger.open("memory://", {})
    channels = {"email": mail, "dingtalk": robot}
    service(channels, notified=["email"], clock=clock, outbox=ledger).notify_success("flow", RESULT)
    mail.error = None
    clock.wind(hours=1)
    subject = Subject(app_name="other", run_id="run-2")
    other = service(channels, notified=["dingtalk"], clock=clock, outbox=ledger, subject=subject)
    assert other.notify_success("flow", RESULT) is True
    assert (len(mail.sent), len(robot.sent)) == (1, 1)


def test_a_letter_for_a_channel_that_is_gone_waits(log: list[str]) -> None:
    """Another machine's settings may know it; the problem says what is missing here."""
    clock, ledger = Clock(), SqlLedger.open("memory://", {})
    service({"email": busy()}, clock=clock, outbox=ledger).notify_success("flow", RESULT)
    clock.wind(hours=1)
    assert service({}, clock=clock, outbox=ledger).send_waiting() == 0
    assert "no channel 'email'" in ledger.outbox_messages(waiting=True)[0].problem


def test_an_unknown_channel_is_named_in_the_log(log: list[str]) -> None:
    """The others are told, and the answer is that somebody was not."""
    channel = Remembering()
    assert service({"email": channel}, notified=["email", "pager"]).notify_success("flow", RESULT) is False
    assert len(channel.sent) == 1
    assert any("'pager'" in line for line in log)


def test_nobody_to_tell_is_no_problem() -> None:
    """Where notifications are off there is nothing left undone."""
    assert service({}).notify_success("flow", RESULT) is True


def test_an_unexpected_error_says_nothing_secret(log: list[str]) -> None:
    """Its text may hold an address with a key: class and place must do."""
    ledger = SqlLedger.open("memory://", {})
    service({"email": channel_that("breaks")}, outbox=ledger).notify_success("flow", RESULT)
    problem = ledger.outbox_messages(waiting=True)[0].problem
    assert "unexpected RuntimeError in" in problem
    assert not any("planted" in text for text in (problem, *log))


def test_secrets_are_taken_out_of_an_error() -> None:
    """What the run failed with is told without them."""
    channel = Remembering()
    notifier = service({"email": channel}, hide=lambda text: text.replace("planted", "…"))
    notifier.notify_failure("flow", "refused: planted")
    assert "planted" not in repr(channel.sent)


@pytest.mark.parametrize("result", [{}, {"report_paths": 7, "window": "x", "certificate": []}, {"cost": 1}])
def test_a_result_of_any_shape_is_told(result: dict[str, Any]) -> None:
    """What is missing is left out of the message."""
    channel = Remembering()
    assert service({"email": channel}).notify_success("flow", result) is True
    assert len(channel.sent) == 1


def test_nothing_is_raised_into_the_run(log: list[str]) -> None:
    """Not even what nobody foresaw; the answer is False and the log says why."""

    def fail(*_: object) -> Any:
        raise ZeroDivisionError

    notifier = service({"email": Remembering()}, clock=fail)
    assert notifier.notify_success("flow", RESULT) is False
    assert notifier.notify_failure("flow", "x") is False
    assert notifier.notify_report_ready("/a", "csv") is False
    assert notifier.send_waiting() == 0
    assert all("ZeroDivisionError" in line for line in log)


def test_a_ledger_that_fails_costs_no_message(log: list[str]) -> None:
    """The message is tried once, directly."""
    channel = Remembering()
    notifier = service({"email": channel}, outbox=BrokenOutbox())
    assert notifier.notify_success("flow", RESULT) is True
    assert notifier.send_waiting() == 0
    assert any("disk full" in line for line in log)


class FailsToSettle(SqlLedger):
    """A ledger that breaks between sending and noting it."""

    def complete(self, letter: object) -> None:
        """Fail."""
        raise LedgerError("disk full")


def test_a_ledger_that_fails_half_way_does_not_make_two_of_one() -> None:
    """What was sent before it broke is not sent again in this round; the others are."""
    first, second = Remembering(), Remembering()
    notifier = service({"email": first, "wechat": second}, outbox=FailsToSettle.open("memory://", {}))
    assert notifier.notify_success("flow", RESULT) is True
    assert (len(first.sent), len(second.sent)) == (1, 1)


def test_files_go_along_where_a_channel_takes_them() -> None:
    """Mail has the report itself; a robot has its link."""
    mail, robot = Remembering(takes_files=True), Remembering()
    service({"email": mail, "dingtalk": robot}, report_links=Links()).notify_success("flow", RESULT)
    assert mail.files == [[("a.csv", b"a,b")]]
    assert "Attached: a.csv" in mail.sent[0].body
    assert (robot.sent[0].attachments, list(robot.files[0])) == ((), [])


def test_a_bucket_that_is_away_costs_links_and_files_only(log: list[str]) -> None:
    """The message goes with the names alone, no paths of a server, and the log says what was left out."""
    mail = Remembering(takes_files=True)
    assert service({"email": mail}, report_links=Links(broken=True)).notify_success("flow", RESULT) is True
    assert "- a.csv" in mail.sent[0].body
    assert "/reports" not in mail.sent[0].body + mail.sent[0].html
    assert mail.files == [[]]
    assert sum("no bucket" in line for line in log) == 3


@pytest.mark.parametrize("channel", ["email", "dingtalk", "wechat", "feishu", "webhook"])
def test_bad_news_is_told_without_any_template(channel: str, tmp_path: Path, log: list[str]) -> None:
    """Where no template works, a bare message says what happened."""
    remembering = Remembering()
    notifier = service({channel: remembering}, templates=Templates(packaged=tmp_path))
    assert notifier.notify_failure("flow", "the key was refused") is True
    assert "the key was refused" in remembering.sent[0].body
    assert remembering.sent[0].urgent
    assert any("without a template" in line for line in log)


def test_a_notice_of_ones_own_is_told() -> None:
    """``announce`` is what all the others come to."""
    channel = Remembering()
    notice = Notice(notice_id="n", occasion=Occasion.CRASH, task="flow", at=NOON, language="zh")
    assert service({"webhook": channel}).announce(notice) is True
    assert channel.sent[0].data["occasion"] == "crash"
    assert channel.sent[0].urgent


TEXT = Message(
    message_id="e1:tell:1", subject="orders", body="*3* orders [failed]", data={"execution_id": "e1"}
)


def test_a_text_is_posted_through_one_channel() -> None:
    """It is escaped for the channel's markup, below its subject where that would not be seen."""
    bot, mail, hook = Remembering(), Remembering(), Remembering()
    posting = service({"dingtalk": bot, "email": mail, "webhook": hook})
    letters = [posting.post(name, TEXT) for name in ("dingtalk", "email", "webhook")]
    assert all(letter.sent_at for letter in letters)
    assert [bot.sent[0].body, mail.sent[0].body] == ["orders\n\n＊3＊ orders ［failed］", TEXT.body]
    assert (hook.sent[0].body, hook.sent[0].data) == (TEXT.body, TEXT.data)


def test_a_text_is_posted_once_however_often_it_is_asked_for() -> None:
    """A step that is tried again posts the same message, which has arrived already."""
    channel = Remembering()
    posting = service({"email": channel})
    first = posting.post("email", TEXT)
    assert posting.post("email", TEXT) == first
    assert len(channel.sent) == 1


def test_a_text_waits_or_is_refused() -> None:
    """Its letter says which; who posts it again hears the same."""
    posting = service({"email": busy(), "webhook": refusing()})
    waiting = [posting.post("email", TEXT) for _ in range(2)]
    assert [(each.sent_at, each.given_up, each.tries) for each in waiting] == [(None, False, 1)] * 2
    assert posting.post("webhook", TEXT).given_up
    with pytest.raises(UsageError, match="there is no channel 'fax': one of email, webhook"):
        posting.post("fax", TEXT)
    with pytest.raises(LedgerError):
        service({"email": Remembering()}, outbox=BrokenOutbox()).post("email", TEXT)
    assert service({"email": Remembering()}, outbox=None).post("email", TEXT).sent_at
