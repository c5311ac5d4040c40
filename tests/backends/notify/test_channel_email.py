"""Mail: encryption, log-in, headers, files, and what a server's refusals mean."""

from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from loguru import logger
from mail_servers import (
    PASSWORD,
    USER,
    Certificate,
    Mailbox,
    mail_server,
    make_certificate,
    scripted_mail_server,
)
from pydantic import SecretStr

from flowledger.domain.messages import Message
from flowledger.errors import ChannelBusyError, MessageRefusedError
from flowledger.notify.email import EmailChannel

MESSAGE = Message(
    message_id="notice-1", subject="日报：12 次运行", body="正文\n. a line with a dot", html="<p>正文</p>"
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Make the mail server's certificate."""
    return make_certificate(tmp_path_factory.mktemp("mail"))


def channel(port: int, **options: Any) -> EmailChannel:
    """Give a channel to a server that needs neither encryption nor log-in, unless options say more."""
    given: dict[str, Any] = {
        "host": "127.0.0.1",
        "to": ("a@example.com",),
        "security": "none",
        "timeout_s": 5,
    }
    return EmailChannel(port=port, **(given | options))


@contextmanager
def starttls_server(mailbox: Mailbox, certificate: Certificate) -> Iterator[int]:
    """Let a server run that takes mails only inside of STARTTLS and after a log-in."""
    options = {"tls_context": certificate.context, "require_starttls": True, "auth_required": True}
    with mail_server(mailbox, **options) as port:
        yield port


def encrypted(port: int, certificate: Certificate, **options: Any) -> EmailChannel:
    """Give a channel as production has it."""
    given = {
        "security": "starttls",
        "user": USER,
        "password": SecretStr(PASSWORD),
        "ca_bundle": str(certificate.path),
    }
    return channel(port, **(given | options))


def test_logs_in_inside_of_starttls(certificate: Certificate) -> None:
    """With STARTTLS the certificate is checked, then the user logs in once, then the mail goes."""
    mailbox = Mailbox()
    with starttls_server(mailbox, certificate) as port:
        encrypted(port, certificate).send(MESSAGE)
    assert mailbox.logins == [(USER.encode(), PASSWORD.encode())]
    assert mailbox.encrypted == [True]


def test_a_probe_logs_in_and_sends_nothing(certificate: Certificate) -> None:
    """So that a wrong password or a server that is away shows before there is any news."""
    mailbox = Mailbox()
    with starttls_server(mailbox, certificate) as port:
        encrypted(port, certificate).probe()
        with pytest.raises(MessageRefusedError, match="login is refused"):
            encrypted(port, certificate, password=SecretStr("another")).probe()
    assert mailbox.logins[0] == (USER.encode(), PASSWORD.encode())
    assert mailbox.raw == []
    with pytest.raises(ChannelBusyError, match="no connection"):
        channel(9).probe()
    with pytest.raises(MessageRefusedError, match="is not one mail address"):
        channel(9, to=("nobody",)).probe()


def test_logs_in_inside_of_tls(certificate: Certificate) -> None:
    """With TLS from the first byte it is the same."""
    mailbox = Mailbox()
    options = {"ssl_context": certificate.context, "auth_require_tls": False}
    with mail_server(mailbox, **options) as port:
        encrypted(port, certificate, security="tls").send(MESSAGE)
    assert mailbox.logins == [(USER.encode(), PASSWORD.encode())]
    assert [mail["From"] for mail in mailbox.mails] == [USER]


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_an_untrusted_certificate_gets_no_password(certificate: Certificate, security: str) -> None:
    """A certificate that no known authority signed stops everything before the log-in."""
    mailbox = Mailbox()
    options = {"ssl_context" if security == "tls" else "tls_context": certificate.context}
    with (
        mail_server(mailbox, **options) as port,
        pytest.raises(ChannelBusyError, match=r"certificate is not trusted.*ca_bundle"),
    ):
        encrypted(port, certificate, ca_bundle=None, security=security).send(MESSAGE)
    assert mailbox.logins == []


def test_an_unreadable_ca_bundle_is_named(tmp_path: Path) -> None:
    """A file of authorities that is none is refused with its name."""
    bundle = tmp_path / "authorities.pem"
    bundle.write_text("not a certificate")
    with pytest.raises(MessageRefusedError, match=r"authorities\.pem"):
        channel(9, security="tls", ca_bundle=str(bundle)).send(MESSAGE)


@pytest.mark.fault(31)
def test_a_server_without_starttls_gets_nothing() -> None:
    """Where STARTTLS is wanted and not offered, neither password nor mail is sent."""
    mailbox = Mailbox()
    with (
        mail_server(mailbox, auth_require_tls=False) as port,
        pytest.raises(MessageRefusedError, match="no STARTTLS"),
    ):
        channel(port, security="starttls", user=USER, password=SecretStr(PASSWORD)).send(MESSAGE)
    assert (mailbox.logins, mailbox.raw) == ([], [])


@pytest.mark.fault(31)
def test_an_open_login_is_refused_unless_it_is_meant() -> None:
    """Without encryption the password goes out only with insecure_login."""
    mailbox = Mailbox()
    login = {"user": USER, "password": SecretStr(PASSWORD)}
    with mail_server(mailbox, auth_require_tls=False) as port:
        with pytest.raises(MessageRefusedError, match="unencrypted"):
            channel(port, **login).send(MESSAGE)
        assert mailbox.logins == []
        channel(port, **login, insecure_login=True).send(MESSAGE)
    assert len(mailbox.raw) == 1


def test_a_wrong_password_is_offered_once(certificate: Certificate) -> None:
    """The server may know several ways to log in; a refusal of one is enough, and final."""
    mailbox = Mailbox()
    wrong = "another-password-of-the-tests"
    with (
        starttls_server(mailbox, certificate) as port,
        pytest.raises(MessageRefusedError, match=r"tried once.*smtp_password.*535") as caught,
    ):
        encrypted(port, certificate, password=SecretStr(wrong)).send(MESSAGE)
    assert len(mailbox.logins) == 1
    assert wrong not in str(caught.value)


@pytest.mark.parametrize("password", ["密码-of-the-tests", "\ud800"])
def test_a_password_outside_ascii_is_not_shown(certificate: Certificate, password: str) -> None:
    """SMTP cannot carry it, and the error about that does not hold it."""
    with (
        starttls_server(Mailbox(), certificate) as port,
        pytest.raises(MessageRefusedError, match="character") as caught,
    ):
        encrypted(port, certificate, password=SecretStr(password)).send(MESSAGE)
    assert caught.value.__context__ is None


def test_a_server_without_login_is_named() -> None:
    """A user where the server knows no log-in is a setting to change."""
    with (
        scripted_mail_server({"EHLO": "250 example"}) as port,
        pytest.raises(MessageRefusedError, match="no login"),
    ):
        channel(port, user=USER, password=SecretStr(PASSWORD), insecure_login=True).send(MESSAGE)


def test_writes_text_html_and_headers() -> None:
    """Both texts are UTF-8, the subject reads as written, and other programs see that a program wrote it."""
    mailbox = Mailbox()
    with mail_server(mailbox) as port:
        to = ("运维组 <ops@example.com>", '"B, C" <b@例子.example.com>')
        channel(port, sender="流水账 <flow@example.com>", to=to).send(MESSAGE)
    mail = mailbox.mails[0]
    assert mailbox.raw[0].isascii()
    assert mail["Subject"] == "日报：12 次运行"
    assert mail["From"].addresses[0].display_name == "流水账"
    assert [each.display_name for each in mail["To"].addresses] == ["运维组", "B, C"]
    assert mailbox.recipients == [["ops@example.com", "b@xn--fsqu00a.example.com"]]
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Date"].datetime.tzinfo is not None
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert text.get_content().splitlines() == ["正文", ". a line with a dot"]
    assert html is not None
    assert html.get_content().strip() == "<p>正文</p>"


def test_the_same_message_has_the_same_id() -> None:
    """Two sendings of one message share their Message-ID, another message has its own."""
    mailbox = Mailbox()
    with mail_server(mailbox) as port:
        for each in ("1", "1", "2", "\ud800\r\nX-Injected: 1"):
            channel(port).send(Message(message_id=each, subject="s", body="b", urgent=True))
    first, again, other, mean = (mail["Message-ID"] for mail in mailbox.mails)
    assert first == again
    assert len({first, other, mean}) == 3
    assert mailbox.mails[0]["Importance"] == "high"


def test_carries_files_under_their_names() -> None:
    """Files arrive byte for byte, with their kinds and Chinese names."""
    files = [
        ("报告.csv", "编号,状态\r\n".encode("utf-8-sig")),
        ("summary.md", b"# one\n"),
        ("data.json", b"{}"),
        ("all.zip", bytes(range(256))),
        ("a\r\nX-Injected: 1.bin", b"\0"),
    ]
    mailbox = Mailbox()
    with mail_server(mailbox) as port:
        channel(port).send(MESSAGE, files)
    parts = list(mailbox.mails[0].iter_attachments())
    assert [part.get_payload(decode=True) for part in parts] == [content for _, content in files]
    assert [part.get_filename() for part in parts][:4] == [name for name, _ in files[:4]]
    kinds = ["text/csv", "text/markdown", "application/json", "application/zip", "application/octet-stream"]
    assert [part.get_content_type() for part in parts] == kinds
    assert not any("X-Injected" in part for part in parts)


def test_attachments_have_names_that_qq_and_exmail_show() -> None:
    """Beside RFC 2231's ``filename*``, ``name`` has encoded words; without it they show tcmime.1234.bin."""
    short, long = "报告 2026-11-25.csv", "日报_销售助手_2026-11-25_运行明细与节点执行情况的汇总表.csv"
    mailbox = Mailbox()
    with mail_server(mailbox) as port:
        channel(port).send(MESSAGE, [(short, b"a"), (long, b"b"), ('a"b.csv', b"c")])
    raw = mailbox.raw[0].decode("ascii")
    word = b64encode(short.encode()).decode("ascii")
    assert f'Content-Type: text/csv;\r\n charset="utf-8";\r\n name="=?utf-8?B?{word}?="' in raw
    assert max(map(len, raw.split("\r\n"))) <= 100
    names = [part.get_param("name") for part in mailbox.mails[0].iter_attachments()]
    assert names == [short, long, 'a"b.csv']
    assert [part.get_filename() for part in mailbox.mails[0].iter_attachments()] == names
    assert raw.count("filename*") >= 2


def test_an_address_that_is_none_costs_the_others_nothing() -> None:
    """They have their mail; the log names the one that is none."""
    mailbox = Mailbox()
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), level="ERROR")
    try:
        with mail_server(mailbox) as port:
            channel(port, to=("a@example.com", "admin", "运维@example.com", "b@example.com")).send(MESSAGE)
    finally:
        logger.remove(sink)
    assert mailbox.recipients == [["a@example.com", "b@example.com"]]
    assert [name in "".join(lines) for name in ("'admin'", "'运维@example.com'")] == [True, True]


def test_a_message_may_name_its_own_recipients() -> None:
    """They get it instead of those of the channel."""
    mailbox = Mailbox()
    with mail_server(mailbox) as port:
        channel(port).send(replace(MESSAGE, recipients=("c@example.com", "nobody")))
    assert mailbox.recipients == [["c@example.com"]]


@pytest.mark.fault(31)
@pytest.mark.parametrize(
    "subject", ["a\r\nBcc: x@example.com", "a\nBcc: x@example.com\n\nbody", "a\x0bBcc: x", "x" * 5000]
)
def test_a_subject_smuggles_no_header(subject: str) -> None:
    """Line breaks in a subject become spaces."""
    mailbox = Mailbox()
    with mail_server(mailbox) as port:
        channel(port).send(Message(message_id="1", subject=subject, body="b"))
    assert mailbox.mails[0]["Bcc"] is None
    assert mailbox.recipients == [["a@example.com"]]


@pytest.mark.parametrize(
    "address",
    [
        "a@example.com\r\nBcc: x@example.com",
        "a@example.com\nRCPT TO:<x@example.com>",
        " ",
        "nobody",
        "a@b@example.com",
        "a@example.com, b@example.com",
        "a b@example.com",
        "\ud800@example.com",
        "运维@example.com",
    ],
)
@pytest.mark.parametrize("field", ["to", "sender"])
def test_what_is_no_address_is_refused(address: str, field: str) -> None:
    """A broken or doubled address is refused before anything is sent, with its text."""
    with pytest.raises(MessageRefusedError, match=r"smtp_to|header"):
        channel(9, **{field: (address,) if field == "to" else address}).send(MESSAGE)


def test_a_mail_without_recipients_is_refused() -> None:
    """Nobody to write to is a setting to change."""
    with pytest.raises(MessageRefusedError, match="no recipient"):
        channel(9, to=()).send(MESSAGE)


def test_one_refused_recipient_keeps_no_other_from_the_mail() -> None:
    """The mail goes to the others, and the log tells who is left out and why."""
    mailbox = Mailbox(refuses={"gone@example.com": "550 no such user"})
    told: list[str] = []
    sink = logger.add(lambda line: told.append(str(line)), level="WARNING")
    with mail_server(mailbox) as port:
        channel(port, to=("a@example.com", "gone@example.com")).send(MESSAGE)
    logger.remove(sink)
    assert mailbox.recipients == [["a@example.com"]]
    assert "gone@example.com: 550 no such user" in told[0]


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        (("550 gone", "550 gone"), MessageRefusedError),
        (("550 gone", "450 later"), ChannelBusyError),
    ],
)
def test_all_recipients_refused(answers: tuple[str, str], kind: type[Exception]) -> None:
    """Where nobody gets it, it waits if any of them may take it later."""
    mailbox = Mailbox(refuses=dict(zip(("a@example.com", "b@example.com"), answers, strict=True)))
    with mail_server(mailbox) as port, pytest.raises(kind, match="every recipient"):
        channel(port, to=("a@example.com", "b@example.com")).send(MESSAGE)


@pytest.mark.fault(31)
@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ({"": "421 too many connections"}, ChannelBusyError),
        ({"": "554 go away"}, MessageRefusedError),
        ({"EHLO": "421 closing", "HELO": "421 closing"}, ChannelBusyError),
        ({"MAIL": "451 greylisted"}, ChannelBusyError),
        ({"MAIL": "553 sender unknown"}, MessageRefusedError),
        ({"DATA": "452 disk full"}, ChannelBusyError),
        ({"DATA": "354 go on", ".": "552 too large"}, MessageRefusedError),
        ({"DATA": "354 go on", ".": "450 later"}, ChannelBusyError),
        ({"MAIL": "nonsense"}, ChannelBusyError),
    ],
)
def test_4xx_waits_and_5xx_refuses(script: dict[str, str], kind: type[Exception]) -> None:
    """At every step the first digit decides, and what is no code may pass."""
    with scripted_mail_server(script) as port, pytest.raises(kind, match=f"127.0.0.1:{port}"):
        channel(port).send(MESSAGE)


def test_a_starttls_that_is_refused_for_now_waits() -> None:
    """454 to STARTTLS passes."""
    script = {"EHLO": "250-example\r\n250 STARTTLS", "STARTTLS": "454 not now"}
    with scripted_mail_server(script) as port, pytest.raises(ChannelBusyError, match="454 not now"):
        channel(port, security="starttls").send(MESSAGE)


def test_tls_to_a_plain_port_names_the_remedy() -> None:
    """Security and port that do not fit together are told as such."""
    with scripted_mail_server({}) as port, pytest.raises(ChannelBusyError, match="fit together"):
        channel(port, security="tls").send(MESSAGE)


def test_a_good_bye_that_fails_does_not_matter() -> None:
    """Once the mail is accepted, a server that hangs up is no error."""
    with scripted_mail_server({"DATA": "354 go on", "QUIT": "421 hurry"}) as port:
        channel(port).send(MESSAGE)
