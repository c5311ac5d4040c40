"""A message as a mail: text and HTML, files, and headers that nothing can be smuggled into."""

from collections.abc import Sequence
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, getaddresses
from hashlib import sha256
from pathlib import PurePosixPath

from flowledger.domain.messages import Message
from flowledger.domain.texts import one_line, show_controls
from flowledger.errors import MessageRefusedError

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
