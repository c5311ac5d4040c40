"""Messages by mail: text and HTML, files, and safe headers.

In the SMTP conversation each answer of the server has a deadline, and a password is offered once.
"""

import smtplib
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from hashlib import sha256
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Literal, TypeVar

import certifi
from loguru import logger
from pydantic import SecretStr

from flowledger.domain.mail_addresses import read_mail_address
from flowledger.domain.messages import Message
from flowledger.domain.redaction import Redactor, redactor
from flowledger.domain.texts import clip, one_line, show_controls
from flowledger.errors import ChannelBusyError, FlowledgerError, MessageRefusedError
from flowledger.http.pools import DeadlineReader
from flowledger.http.session import authorities_file, authorities_variable

Security = Literal["starttls", "tls", "none"]
SLOWEST_BYTES_PER_S = 50_000
"""A server that accepts a mail more slowly than this times out."""
_MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5")
"""Preferred first inside of TLS; without TLS last first, as only CRAM-MD5 does not send the password."""


class NoStartTlsError(Exception):
    """The server does not offer STARTTLS; nothing was sent to it."""


class NoLoginError(Exception):
    """The server offers no login mechanism that is supported here."""


def trust(ca_bundle: str | None) -> ssl.SSLContext:
    """Return the TLS context that trusts the authorities of a file alone, or those of the system.

    Where no file is given, the environment may name one, as for all clients.

    :raises OSError: when the file cannot be read as PEM.
    """
    ca_bundle = ca_bundle or authorities_file()
    if ca_bundle is not None and Path(ca_bundle).is_dir():
        return ssl.create_default_context(capath=ca_bundle)
    context = ssl.create_default_context(cafile=ca_bundle)
    if ca_bundle is None:
        context.load_verify_locations(certifi.where())  # slim images have none of their own
    return context


class _Timed(smtplib.SMTP):
    """SMTP whose answers must each be complete within the timeout, however slowly their bytes arrive."""

    _reader: DeadlineReader

    def getreply(self) -> tuple[int, bytes]:
        # A socket's timeout is for each recv(): a server that sends a byte now and then would never time out.
        if self.file is None and self.sock is not None:
            self._reader = DeadlineReader(self.sock, 0)
            self.file = BufferedReader(self._reader)
        self._reader.ends = time.monotonic() + float(self.timeout)
        return super().getreply()

    def send(self, s: bytes | str) -> None:  # type: ignore[override]  # the stubs know bytes by an older name
        if self.sock is not None:
            self.sock.settimeout(float(self.timeout) + len(s) / SLOWEST_BYTES_PER_S)
        super().send(s)


class _TimedTls(_Timed, smtplib.SMTP_SSL):
    """The same inside of TLS from the first byte."""


def connect(
    host: str, port: int, security: Security, context: ssl.SSLContext | None, timeout_s: float
) -> smtplib.SMTP:
    """Connect to a mail server, inside of TLS unless ``security`` is none.

    :raises NoStartTlsError: when the server does not offer STARTTLS; smtplib.SMTPException, OSError: from
        below.
    """
    if security == "tls":
        return _TimedTls(host, port, timeout=timeout_s, context=context)
    server = _Timed(host, port, timeout=timeout_s)
    try:
        if security == "starttls":
            _encrypt(server, context)
    except BaseException:
        server.close()
        raise
    return server


def _encrypt(server: smtplib.SMTP, context: ssl.SSLContext | None) -> None:
    code, words = server.ehlo()
    if code != 250:
        raise smtplib.SMTPHeloError(code, words)
    if not server.has_extn("starttls"):
        raise NoStartTlsError
    server.starttls(context=context)


def log_in(server: smtplib.SMTP, user: str, password: str, *, encrypted: bool) -> None:
    """Log in with one attempt, since servers lock accounts after some.

    :raises NoLoginError: when the server offers none; smtplib.SMTPAuthenticationError: when it refuses.
    """
    server.ehlo_or_helo_if_needed()
    offered = server.esmtp_features.get("auth", "").upper().split()
    # server.login() tries one mechanism after another: several wrong attempts at a single wrong password.
    ordered = iter(_MECHANISMS) if encrypted else reversed(_MECHANISMS)
    chosen = next((each for each in ordered if each in offered), None)
    if chosen is None:
        raise NoLoginError
    server.user, server.password = user, password
    server.auth(chosen, getattr(server, f"auth_{chosen.lower().replace('-', '_')}"))


Hide = Callable[[str], str]
_Answer = tuple[int, bytes | str]
_LONGEST_WORDS = 200
_FINAL: dict[type[Exception], str] = {
    NoStartTlsError: "the server offers no STARTTLS, so nothing was sent; choose another port, or tls (465)",
    NoLoginError: "the server offers no login that is supported here; leave out the user, or encrypt",
    smtplib.SMTPNotSupportedError: "the server takes no address outside of ASCII (SMTPUTF8)",
    UnicodeError: "host, user or password holds a character that SMTP cannot carry",
}


def smtp_error(error: Exception, place: str, timeout_s: float, hide: Hide) -> FlowledgerError:
    """Return our error for one of smtplib or below; ``hide`` takes secrets out of the server's text."""
    for kind, text in _FINAL.items():
        if isinstance(error, kind):
            return MessageRefusedError(f"{place}: {text}")
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return _by_code(place, "every recipient is refused", list(error.recipients.values()), hide)
    if isinstance(error, smtplib.SMTPResponseException):
        wrong_login = isinstance(error, smtplib.SMTPAuthenticationError)
        summary = _WRONG_LOGIN if wrong_login else "the mail is refused"
        return _by_code(place, summary, [(error.smtp_code, error.smtp_error)], hide)
    return ChannelBusyError(f"{place}: {_broken(error, timeout_s)}")


_WRONG_LOGIN = "the login is refused (it was tried once); check smtp_user and smtp_password"


def _by_code(place: str, summary: str, answers: Sequence[_Answer], hide: Hide) -> FlowledgerError:
    code, words = answers[0]
    text = f"{place}: {summary}: {code} {server_text(words, hide)}"
    # No code at all (-1), or a text of smtplib (str, not bytes) about an endless line, is a garbled answer.
    is_temporary = any(not 500 <= each < 600 or isinstance(answer, str) for each, answer in answers)
    return ChannelBusyError(text) if is_temporary else MessageRefusedError(text)


def _broken(error: Exception, timeout_s: float) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted ({error.verify_message}); name its authority in ca_bundle"
    if isinstance(error, ssl.SSLError):
        return "no secure connection; see whether smtp_security and the port fit together"
    if isinstance(error, TimeoutError) or "deadline" in str(error) or "timed out" in str(error):
        return f"no complete answer within {timeout_s:g} s"
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return "the connection broke"
    reason = error.strerror if isinstance(error, OSError) else None
    return f"no connection ({reason or type(error).__name__}); check host, port, network and firewall"


def server_text(words: bytes | str, hide: Hide) -> str:
    """Return a server's text as one short line, without secrets."""
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    return clip(one_line(hide(text)), _LONGEST_WORDS)


SUBJECT_CHARACTERS = 200
_POLICY = SMTP.clone(cte_type="7bit")
"""Every server accepts seven bits."""
_KINDS = {
    ".csv": ("text", "csv"),
    ".md": ("text", "markdown"),
    ".txt": ("text", "plain"),
    ".html": ("text", "html"),
    ".json": ("application", "json"),
    ".zip": ("application", "zip"),
    ".gz": ("application", "gzip"),
    ".xlsx": ("application", "vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
}
_UNKNOWN = ("application", "octet-stream")
_WORD_BYTES = 45
"""An encoded word has at most 75 characters."""


def read_address(text: str) -> Address:
    """Read one address as people write it, with a name or without.

    :raises MessageRefusedError: naming it, when it is none.
    """
    try:
        return read_mail_address(text)
    except ValueError as error:
        raise MessageRefusedError(f"{one_line(text)!r} {error}; check smtp_to and smtp_sender") from error


def compose(
    message: Message, files: Sequence[tuple[str, bytes]], sender: Address, to: Sequence[Address]
) -> EmailMessage:
    """Return the mail of a message; its Message-ID is always the same, so that a repetition is recognised.

    :raises MessageRefusedError: when a header cannot be written.
    """
    mail = EmailMessage(policy=_POLICY)
    try:
        mail["Subject"] = one_line(message.subject)[:SUBJECT_CHARACTERS]
        mail["From"] = sender
        mail["To"] = tuple(to)
    except (ValueError, UnicodeError) as error:
        raise MessageRefusedError(f"the mail's headers cannot be written: {error}") from error
    mail["Date"] = format_datetime(datetime.now(UTC))
    mail["Message-ID"] = message_id(message.message_id, sender.domain)
    mail["Auto-Submitted"] = "auto-generated"
    if message.urgent:
        mail["Importance"] = "high"
    mail.set_content(show_controls(message.body))
    if message.html:
        mail.add_alternative(show_controls(message.html), subtype="html")
    for name, content in files:
        _attach(mail, one_line(name), content)
    return mail


def message_id(own: str, domain: str) -> str:
    """Return the Message-ID of a message, from our own id of it."""
    return f"<{sha256(own.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}@{domain}>"


def _attach(mail: EmailMessage, name: str, content: bytes) -> None:
    main, sub = _KINDS.get(PurePosixPath(name).suffix.lower(), _UNKNOWN)
    charset = {"charset": "utf-8"} if main == "text" else {}
    mail.add_attachment(content, maintype=main, subtype=sub, filename=name, params=charset)
    part = list(mail.iter_attachments())[-1]
    lines = [
        f"{main}/{sub}",
        *(f' {key}="{value}"' for key, value in charset.items()),
        f' name="{readable_name(name)}"',
    ]
    # The library would write the name as RFC 2231 has it, a second time.
    del part["Content-Type"]
    part.set_raw("Content-Type", ";\r\n".join(lines))


def readable_name(name: str) -> str:
    """Return a file name as readers without RFC 2231 understand it, QQ mail and Exmail among them.

    Plain ASCII as it is, anything else as encoded words (RFC 2047), one a line.
    """
    if name.isascii() and name.isprintable():
        return name.replace("\\", "\\\\").replace('"', '\\"')
    pieces = [""]
    for character in name:
        if len((pieces[-1] + character).encode("utf-8", "replace")) > _WORD_BYTES:
            pieces.append("")
        pieces[-1] += character
    words = (b64encode(piece.encode("utf-8", "replace")).decode("ascii") for piece in pieces)
    return "\r\n ".join(f"=?utf-8?B?{word}?=" for word in words)


Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class EmailChannel:
    """Sends mails with text, HTML and files; the user logs in only inside of TLS unless ``insecure_login``.

    ``ca_bundle`` is a file of authorities to trust instead of the system's; ``timeout_s`` the time for each
    answer of the server.  Without a ``sender`` the user's address is it.
    """

    host: str
    to: tuple[str, ...]
    port: int = 587
    user: str | None = None
    password: SecretStr | None = None
    sender: str | None = None
    security: Security = "starttls"
    insecure_login: bool = False
    ca_bundle: str | None = None
    timeout_s: float = 30

    @property
    def takes_files(self) -> bool:
        """Mails carry files; the server's own limit of a mail's size holds."""
        return True

    def send(self, message: Message, files: Sequence[tuple[str, bytes]] = ()) -> None:
        """Send one message to all recipients; if only some of them cannot be reached, that is logged.

        :raises ChannelBusyError: when trying later may help; MessageRefusedError: when it will not.
        """
        self._refuse_open_login()
        recipients = self._recipients(message.recipients or self.to)
        if not recipients:
            raise MessageRefusedError(f"{self._place}: the mail has no recipient; set smtp_to")
        mail = compose(message, files, self._from(), recipients)
        refused = self._converse(lambda server: self._hand_over(server, mail, recipients))
        for recipient, (code, words) in refused.items():
            logger.warning(
                "{}: the mail went to the others, but not to {}: {} {}",
                self._place,
                recipient,
                code,
                server_text(words, self._hide),
            )

    def probe(self) -> None:
        """Reach the server and log in, as for a mail.

        :raises ChannelBusyError, MessageRefusedError: as ``send`` would.
        """
        self._refuse_open_login()
        for each in (*self.to, *([self.sender] if self.sender else [])):
            read_address(each)
        self._converse(lambda server: server.noop())

    def _recipients(self, addresses: Sequence[str]) -> list[Address]:
        """Return the addresses that are some; one that is none never costs the others their mail.

        :raises MessageRefusedError: where all are none.
        """
        recipients: list[Address] = []
        failure: MessageRefusedError | None = None
        for each in addresses:
            try:
                recipients.append(read_address(each))
            except MessageRefusedError as error:
                failure = error
                logger.error("{}: no mail to this one: {}", self._place, error)
        if failure and not recipients:
            raise failure
        return recipients

    @property
    def _place(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def _hide(self) -> Redactor:
        return redactor([self.password.get_secret_value()] if self.password else [])

    def _from(self) -> Address:
        named = self.sender or (self.user if self.user and "@" in self.user else None)
        return read_address(named or f"flowledger@{self.host}")

    def _refuse_open_login(self) -> None:
        if self.user and self.security == "none" and not self.insecure_login:
            raise MessageRefusedError(
                f"{self._place}: the password would go over an unencrypted connection; set smtp_security to"
                " starttls or tls, or smtp_insecure_login if that is meant"
            )

    def _converse(self, talk: Callable[[smtplib.SMTP], Result]) -> Result:
        """Run a conversation with the server; its errors become ours."""
        try:
            with self._session() as server:
                return talk(server)
        except (smtplib.SMTPException, NoStartTlsError, NoLoginError, OSError, UnicodeError) as error:
            failure = smtp_error(error, self._place, self.timeout_s, self._hide)
        raise failure  # outside of the handler: a library's error may hold the password

    @contextmanager
    def _session(self) -> Iterator[smtplib.SMTP]:
        server = connect(self.host, self.port, self.security, self._trust(), self.timeout_s)
        try:
            if self.user:
                password = self.password.get_secret_value() if self.password else ""
                log_in(server, self.user, password, encrypted=self.security != "none")
            yield server
            with suppress(smtplib.SMTPException, OSError):  # the mail is accepted, whatever happens to QUIT
                server.quit()
        finally:
            server.close()

    def _trust(self) -> ssl.SSLContext | None:
        if self.security == "none":
            return None
        try:
            return trust(self.ca_bundle)
        except OSError as error:
            name, path = "ca_bundle", self.ca_bundle
            if path is None:
                name, path = authorities_variable() or "certifi", authorities_file()
            raise MessageRefusedError(f"{name} {path} cannot be read as PEM ({error})") from error

    def _hand_over(
        self, server: smtplib.SMTP, mail: EmailMessage, recipients: Sequence[Address]
    ) -> dict[str, tuple[int, bytes]]:
        addresses = [each.addr_spec for each in recipients]
        return dict(server.send_message(mail, from_addr=self._from().addr_spec, to_addrs=addresses))
