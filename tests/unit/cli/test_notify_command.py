"""``flowledger notify``: channels are tried, and what waits is seen and sent."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flowledger import bootstrap
from flowledger.bootstrap import notifications
from flowledger.cli.main import cli
from flowledger.domain.messages import Message, OutboxMessage
from flowledger.errors import MessageRefusedError, UsageError
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.notify.service import Addressee
from flowledger.settings.model import VARIABLES

Call = Callable[..., Result]


@dataclass
class Pipe:
    """A channel whose other end the test holds."""

    taken: list[Message] = field(default_factory=list)
    refuses: bool = False
    takes_files: bool = False

    def send(self, message: Message, files: object = ()) -> None:
        """Take a message, or refuse it."""
        if self.refuses:
            raise MessageRefusedError("the key is not known: copy the address anew")
        self.taken.append(message)


@pytest.fixture
def pipe() -> Pipe:
    """Where all messages end."""
    return Pipe()


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipe: Pipe) -> Call:
    """Call the command in an empty folder, with a webhook and a robot that end here."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    known = {name: Addressee(name, pipe) for name in ("dingtalk", "webhook")}
    real = notifications.addressees
    monkeypatch.setattr(
        notifications,
        "addressees",
        lambda settings: known if settings.notification_enabled else real(settings),
    )
    ledger = SqlLedger.open("memory://", {})
    for place in (bootstrap, notifications):
        monkeypatch.setattr(place, "opened_ledger", lambda settings: nullcontext(ledger))
    return lambda *words: CliRunner().invoke(
        cli, ["notify", *words], catch_exceptions=False, standalone_mode=False
    )


def post(**changed: object) -> None:
    """Leave a letter in the ledger."""
    now = bootstrap.clock.utc_now()
    message = Message(message_id="run-1-failure", subject="[Flowledger] bad news", body="x")
    letter = OutboxMessage(
        letter_id="run-1-failure:webhook", channel="webhook", message=message, posted_at=now, not_before=now
    )
    with bootstrap.opened_ledger(bootstrap.load_settings(need_app=False)) as ledger:
        ledger.enqueue([letter])
        ledger.complete(replace(letter, **changed))  # type: ignore[arg-type]  # as the test has them


def test_each_channel_is_tried(call: Call, pipe: Pipe) -> None:
    """A line for each, status 0 where all took the message."""
    done = call("test")
    assert (done.output, done.return_value) == ("dingtalk: ok\nwebhook: ok\n", 0)
    assert ["测试" in message.subject for message in pipe.taken] == [True, True]


def test_one_channel_can_be_tried(call: Call, pipe: Pipe) -> None:
    """An unknown name is refused with the known ones, before anything is sent."""
    assert call("test", "--channel", "webhook").output == "webhook: ok\n"
    with pytest.raises(UsageError, match="unknown channel 'emial', 'pager': one of dingtalk, webhook"):
        call("test", "--channel", "webhook", "--channel", "emial", "--channel", "pager")
    assert len(pipe.taken) == 1


def test_what_to_do_is_said_where_a_channel_refuses(call: Call, pipe: Pipe) -> None:
    """The status is 1 then."""
    pipe.refuses = True
    done = call("test", "--channel", "webhook")
    assert done.output == "webhook: the key is not known: copy the address anew\n"
    assert done.return_value == 1


def test_no_channel_at_all_is_told(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variables that set one up; an unknown app is refused as well."""
    with pytest.raises(UsageError, match="no app is configured"):
        call("test", "--app", "sales")
    monkeypatch.setenv("NOTIFICATION_ENABLED", "false")
    with pytest.raises(UsageError, match="NOTIFICATION_TYPE"):
        call("test")


def test_an_empty_outbox_is_shown(call: Call) -> None:
    """Nothing waits, nothing was given up, nothing is sent."""
    assert call("list", "--sent").output == "waiting: none\ngiven up: none\nsent: none\n"
    assert call("flush").output == "0 sent, 0 waiting\n"


def test_what_waits_is_listed_and_sent(call: Call, pipe: Pipe) -> None:
    """Once it is due, or at once when all are asked for."""
    later = bootstrap.clock.utc_now() + timedelta(hours=1)
    post(tries=1, problem="no connection", not_before=later)
    listed = call("list").output
    assert "waiting: 1\n" in listed
    assert (
        f"webhook  [Flowledger] bad news  (1 try, next from {later:%Y-%m-%d %H:%M}Z: no connection)" in listed
    )
    waiting = call("flush")
    assert (waiting.output, waiting.return_value) == ("0 sent, 1 waiting (see flowledger notify list)\n", 1)
    sent = call("flush", "--all")
    assert (sent.output, sent.return_value) == ("1 sent, 0 waiting\n", 0)
    assert [message.body for message in pipe.taken] == ["x"]
    assert "sent: 1" in call("list", "--sent").output


def test_what_was_given_up_is_listed_with_its_reason(call: Call) -> None:
    """It is not sent any more."""
    post(tries=1, problem="the key is not known", given_up=True)
    assert "given up: 1" in call("list").output
    assert "(1 try: the key is not known)" in call("list").output
    assert call("flush", "--all").output == "0 sent, 0 waiting\n"
