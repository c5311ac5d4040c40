"""A conversation with a mail server in which each answer has a deadline and a password is offered once."""

import smtplib
import ssl
import time
from collections.abc import Callable, Sequence
from io import BufferedReader
from typing import Literal

import certifi

from flowledger.domain.texts import clip, one_line
from flowledger.errors import ChannelBusyError, FlowledgerError, MessageRefusedError
from flowledger.http.pools import DeadlineReader

Security = Literal["starttls", "tls", "none"]
SLOWEST_BYTES_PER_S = 50_000
"""A server that takes a mail more slowly than this is given up."""
_MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5")
"""Inside of TLS the simplest is the safest; without it the one that does not show the password."""


class NoStartTlsError(Exception):
    """The server does not offer STARTTLS; nothing was sent to it."""


class NoLoginError(Exception):
    """The server offers no way to log in that is known here."""


def trust(ca_bundle: str | None) -> ssl.SSLContext:
    """Give what decides whose certificate is believed: a file's authorities alone, or those of the system.

    :raises OSError: when the file cannot be read as PEM.
    """
    context = ssl.create_default_context(cafile=ca_bundle)
    if ca_bundle is None:
        context.load_verify_locations(certifi.where())  # slim images have none of their own
    return context


class _Timed(smtplib.SMTP):
    """SMTP whose answers must each be complete within the timeout, however slowly their bytes arrive."""

    _reader: DeadlineReader

    def getreply(self) -> tuple[int, bytes]:
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
    """Greet a mail server, inside of TLS where that is wanted.

    :raises NoStartTlsError: when it is wanted and not to be had; smtplib.SMTPException, OSError: from below.
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


def log_in(server: smtplib.SMTP, user: str, password: str, *, shown: bool) -> None:
    """Log in with one attempt: servers lock accounts after some.  ``shown`` says that others can read along.

    :raises NoLoginError: when the server offers none; smtplib.SMTPAuthenticationError: when it refuses.
    """
    server.ehlo_or_helo_if_needed()
    offered = server.esmtp_features.get("auth", "").upper().split()
    ordered = reversed(_MECHANISMS) if shown else iter(_MECHANISMS)
    chosen = next((each for each in ordered if each in offered), None)
    if chosen is None:
        raise NoLoginError
    server.user, server.password = user, password
    server.auth(chosen, getattr(server, f"auth_{chosen.lower().replace('-', '_')}"))


Hide = Callable[[str], str]
_Answer = tuple[int, bytes | str]
_LONGEST_WORDS = 200
_NEVER: dict[type[Exception], str] = {
    NoStartTlsError: "the server offers no STARTTLS, so nothing was sent; choose another port, or tls (465)",
    NoLoginError: "the server offers no login that is known here; leave out the user, or encrypt",
    smtplib.SMTPNotSupportedError: "the server takes no address outside of ASCII (SMTPUTF8)",
    UnicodeError: "host, user or password holds a character that SMTP cannot carry",
}


def tell(error: Exception, place: str, timeout_s: float, hide: Hide) -> FlowledgerError:
    """Give our error for one of smtplib or below; ``hide`` takes secrets out of the server's words."""
    for kind, told in _NEVER.items():
        if isinstance(error, kind):
            return MessageRefusedError(f"{place}: {told}")
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        told, answers = "every recipient is refused", list(error.recipients.values())
        return _by_code(place, told, answers, hide)
    if isinstance(error, smtplib.SMTPResponseException):
        wrong_login = isinstance(error, smtplib.SMTPAuthenticationError)
        told = _WRONG_LOGIN if wrong_login else "the mail is refused"
        return _by_code(place, told, [(error.smtp_code, error.smtp_error)], hide)
    return ChannelBusyError(f"{place}: {_broken(error, timeout_s)}")


_WRONG_LOGIN = "the login is refused (it was tried once); check smtp_user and smtp_password"


def _by_code(place: str, told: str, answers: Sequence[_Answer], hide: Hide) -> FlowledgerError:
    code, words = answers[0]
    text = f"{place}: {told}: {code} {shown(words, hide)}"
    # What is no code at all (-1), or smtplib's own words (text) on a line without end, is a garbled answer.
    passes = any(not 500 <= each < 600 or isinstance(said, str) for each, said in answers)
    return ChannelBusyError(text) if passes else MessageRefusedError(text)


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


def shown(words: bytes | str, hide: Hide) -> str:
    """Show a server's words in one short line, without secrets."""
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    return clip(one_line(hide(text)), _LONGEST_WORDS)
