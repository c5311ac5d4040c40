"""Messages as JSON, by POST to any receiver, which can verify by a signature that they are ours."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from pydantic import SecretStr

from flowledger.domain.messages import Message
from flowledger.domain.texts import mend
from flowledger.notify.chat_bots import compose, webhook_headers
from flowledger.notify.posting import JSON_TYPE, check_status, post


@dataclass(frozen=True, slots=True)
class WebhookChannel:
    """Posts ``data``, ``subject`` and ``body`` of a message as JSON, signed where there is a secret.

    The signature is that of timestamp, dot and body; ``Idempotency-Key`` is the same for the same message.
    """

    url: SecretStr
    secret: SecretStr | None = None

    @property
    def takes_files(self) -> bool:
        """A receiver finds the files by the links in the values."""
        return False

    def send(self, message: Message, files: Sequence[tuple[str, bytes]] = ()) -> None:  # noqa: ARG002  # takes none
        """Deliver one message; 2xx accepts it.

        :raises ChannelBusyError: for 408, 425, 429, 5xx or no answer, with the wait asked for by Retry-After;
            MessageRefusedError: for any other answer.
        """
        body = compose({**message.data, "subject": message.subject, "body": message.body})
        secret = self.secret.get_secret_value() if self.secret else None
        headers = {
            "Content-Type": JSON_TYPE,
            # A header takes ASCII only, and no line break.
            "Idempotency-Key": quote(mend(message.message_id), safe=":/+=, "),
            **webhook_headers(body, secret, int(time.time())),
        }
        check_status(post(self.url.get_secret_value(), body, headers, reads_body=False))
