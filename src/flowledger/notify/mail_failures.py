"""What went wrong with a mail server, told once in our words: a 4xx passes, a 5xx does not."""

import smtplib
import ssl
from collections.abc import Callable, Sequence

from flowledger.domain.texts import clip, one_line
from flowledger.errors import ChannelBusyError, FlowledgerError, MessageRefusedError
from flowledger.notify.smtp import NoLoginError, NoStartTlsError

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
