"""Mail servers on loopback: a real one with TLS and log-in, and one that answers by a script."""

import ipaddress
import ssl
from asyncio import Server
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from socket import SHUT_RDWR, create_server, socket
from threading import Event, Thread
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER = "reporter@example.com"
PASSWORD = "password-of-the-mail-server-in-tests"


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate of loopback, valid for a day around now, as files."""

    path: Path
    key_path: Path

    @property
    def context(self) -> ssl.SSLContext:
        """What a server shows it with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path, self.key_path)
        return context


def make_certificate(folder: Path) -> Certificate:
    """Write a new certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Certificate(folder / "mail.pem", folder / "mail.key")
    made.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    made.key_path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    return made


@dataclass
class Mailbox:
    """Keeps the mails it gets; ``refuses`` are recipients with what is answered to them."""

    refuses: Mapping[str, str] = field(default_factory=dict)
    data_answer: str = "250 kept"
    raw: list[bytes] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)

    @property
    def mails(self) -> list[EmailMessage]:
        """The mails, read."""
        return [BytesParser(EmailMessage, policy=policy.default).parsebytes(each) for each in self.raw]

    async def handle_RCPT(
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        """Take or refuse a recipient."""
        if address in self.refuses:
            return self.refuses[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, session: Any, envelope: Any) -> str:
        """Keep a mail."""
        if self.data_answer.startswith("250"):
            self.raw.append(envelope.content)
            self.recipients.append(list(envelope.rcpt_tos))
            self.encrypted.append(session.ssl is not None)
        return self.data_answer

    def check(self, _server: Any, _session: Any, _envelope: Any, mechanism: str, login: Any) -> AuthResult:
        """Take the one user with the one password."""
        known = isinstance(login, LoginPassword)
        self.logins.append((login.login, login.password) if known else (b"", mechanism.encode()))
        good = known and (login.login, login.password) == (USER.encode(), PASSWORD.encode())
        return AuthResult(success=good, handled=False)


class _Server(Controller):
    def __init__(self, mailbox: Mailbox, **options: Any) -> None:
        self.tls = options.pop("ssl_context", None)
        super().__init__(mailbox, hostname="127.0.0.1", port=0, ssl_context=self.tls, **options)

    def factory(self) -> SMTP:
        return SMTP(self.handler, hostname="mail.example.com", **self.SMTP_kwargs)

    def _trigger_server(self) -> None:
        """Note which port is the free one before it is tried."""
        assert isinstance(self.server, Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]  # aiosmtpd's


@contextmanager
def mail_server(mailbox: Mailbox, **options: Any) -> Iterator[int]:
    """Let a mail server fill a mailbox, and give its port."""
    server = _Server(mailbox, authenticator=mailbox.check, **options)
    server.start()
    try:
        yield server.port
    finally:
        server.stop()


Script = Mapping[str, str]
"""Verb → what is answered to it; "" greets.  A verb that is missing is answered by 250."""


@contextmanager
def scripted_mail_server(
    script: Script, drip: Callable[[socket, Event], None] | None = None
) -> Iterator[int]:
    """Answer each command by a script, or let ``drip`` do what it will with each connection."""
    listener = create_server(("127.0.0.1", 0))
    stopped, connections = Event(), []

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connections.append(connection)
                Thread(target=serve, args=(connection,), daemon=True).start()

    def serve(connection: socket) -> None:
        with suppress(OSError), connection:
            if drip:
                drip(connection, stopped)
            else:
                _converse(connection, script)

    thread = Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        stopped.set()
        with suppress(OSError):
            listener.shutdown(SHUT_RDWR)
        listener.close()
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(SHUT_RDWR)
        thread.join()


def _converse(connection: socket, script: Script) -> None:
    connection.sendall(script.get("", "220 ready").encode() + b"\r\n")
    with connection.makefile("rb") as lines:
        while line := lines.readline():
            verb = line.split()[0].decode("ascii", "replace").upper() if line.split() else ""
            connection.sendall(script.get(verb, "250 OK").encode() + b"\r\n")
            if verb == "DATA" and script.get(verb, "").startswith("354"):
                while lines.readline() not in (b".\r\n", b""):
                    pass
                connection.sendall(script.get(".", "250 OK").encode() + b"\r\n")
