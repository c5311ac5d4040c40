"""Messages by mail, through a server that speaks SMTP."""

import smtplib
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from typing import TypeVar

from loguru import logger
from pydantic import SecretStr

from flowledger.domain.messages import Message
from flowledger.domain.redaction import Redactor, redactor
from flowledger.errors import MessageRefusedError
from flowledger.notify.mail_failures import shown, tell
from flowledger.notify.mails import compose, read_address
from flowledger.notify.smtp import NoLoginError, NoStartTlsError, Security, connect, log_in, trust

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
