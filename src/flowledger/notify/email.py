"""Messages by mail, through a server that speaks SMTP: text and HTML, files, and safe headers."""

import smtplib
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, getaddresses
from hashlib import sha256
from pathlib import PurePosixPath
from typing import TypeVar

from loguru import logger
from pydantic import SecretStr

from flowledger.domain.messages import Message
from flowledger.domain.redaction import Redactor, redactor
from flowledger.domain.texts import one_line, show_controls
from flowledger.errors import MessageRefusedError
from flowledger.notify.smtp import (
    NoLoginError,
    NoStartTlsError,
    Security,
    connect,
    log_in,
    shown,
    tell,
    trust,
)

SUBJECT_CHARACTERS = 200
_POLICY = SMTP.clone(cte_type="7bit")
"""Every server takes seven bits."""
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


def read_address(text: str) -> Address:
    """Read one address as people write it, with a name or without.

    :raises MessageRefusedError: naming it, when it is none.
    """
    found = getaddresses([text])
    name, spec = found[0] if len(found) == 1 else ("", "")
    if not text.isprintable() or spec.count("@") != 1:
        raise MessageRefusedError(
            f"{one_line(text)!r} is not one mail address; check smtp_to and smtp_sender"
        )
    try:
        user, _, domain = spec.rpartition("@")
        return Address(display_name=name, addr_spec=f"{user}@{domain.encode('idna').decode('ascii')}")
    except (ValueError, IndexError) as error:
        raise MessageRefusedError(
            f"{text!r} is not a mail address ({error}); check smtp_to and smtp_sender"
        ) from error


def compose(
    message: Message, files: Sequence[tuple[str, bytes]], sender: Address, to: Sequence[Address]
) -> EmailMessage:
    """Write a mail; the same message always has the same Message-ID, so that a second one can be told.

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
    """Give the Message-ID of a message of ours."""
    return f"<{sha256(own.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}@{domain}>"


def _attach(mail: EmailMessage, name: str, content: bytes) -> None:
    main, sub = _KINDS.get(PurePosixPath(name).suffix.lower(), _UNKNOWN)
    charset = {"charset": "utf-8"} if main == "text" else {}
    mail.add_attachment(content, maintype=main, subtype=sub, filename=name, params=charset)


Heard = TypeVar("Heard")


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
        """Deliver one message to all recipients; one that alone is refused is told in the log.

        :raises ChannelBusyError: when trying later may help; MessageRefusedError: when it will not.
        """
        self._refuse_open_login()
        recipients = [read_address(each) for each in self.to]
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
                shown(words, self._hide),
            )

    def probe(self) -> None:
        """Reach the server and log in, as for a mail.

        :raises ChannelBusyError, MessageRefusedError: as ``send`` would.
        """
        self._refuse_open_login()
        for each in (*self.to, *([self.sender] if self.sender else [])):
            read_address(each)
        self._converse(lambda server: server.noop())

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

    def _converse(self, talk: Callable[[smtplib.SMTP], Heard]) -> Heard:
        """Talk to the server; what goes wrong is told in our words."""
        try:
            with self._session() as server:
                return talk(server)
        except (smtplib.SMTPException, NoStartTlsError, NoLoginError, OSError, UnicodeError) as error:
            failure = tell(error, self._place, self.timeout_s, self._hide)
        raise failure  # outside of the handler: a library's error may hold the password

    @contextmanager
    def _session(self) -> Iterator[smtplib.SMTP]:
        server = connect(self.host, self.port, self.security, self._trust(), self.timeout_s)
        try:
            if self.user:
                password = self.password.get_secret_value() if self.password else ""
                log_in(server, self.user, password, shown=self.security == "none")
            yield server
            with suppress(smtplib.SMTPException, OSError):  # the mail is accepted, whatever comes of good-bye
                server.quit()
        finally:
            server.close()

    def _trust(self) -> ssl.SSLContext | None:
        if self.security == "none":
            return None
        try:
            return trust(self.ca_bundle)
        except OSError as error:
            raise MessageRefusedError(
                f"ca_bundle {self.ca_bundle} cannot be read as PEM ({error})"
            ) from error

    def _hand_over(
        self, server: smtplib.SMTP, mail: EmailMessage, recipients: Sequence[Address]
    ) -> dict[str, tuple[int, bytes]]:
        addresses = [each.addr_spec for each in recipients]
        return dict(server.send_message(mail, from_addr=self._from().addr_spec, to_addrs=addresses))
