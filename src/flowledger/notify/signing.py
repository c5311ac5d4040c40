"""How robots and receivers know that a message is ours; every function gives the same for the same time."""

import hmac
from base64 import b64encode
from urllib.parse import quote


def dingtalk_address(webhook: str, secret: str, at_ms: int) -> str:
    """Give DingTalk's address with ``timestamp`` (milliseconds) and ``sign``, percent-encoded once.

    The secret is the key, and a part of what is signed as well.
    """
    sign = b64encode(_digest(secret, f"{at_ms}\n{secret}"))
    joint = "&" if "?" in webhook else "?"
    return f"{webhook}{joint}timestamp={at_ms}&sign={quote(sign, safe='')}"


def feishu_sign(secret: str, at_s: int) -> str:
    """Give Feishu's ``sign`` of a time in seconds: time and secret are the key, what is signed is empty."""
    return b64encode(_digest(f"{at_s}\n{secret}", "")).decode()


def webhook_headers(body: bytes, secret: str | None, at_s: int) -> dict[str, str]:
    """Give the headers by which a receiver proves body and time (seconds); without a secret only the time."""
    headers = {"X-Flowledger-Timestamp": str(at_s)}
    if secret:
        digest = hmac.new(secret.encode(), str(at_s).encode() + b"." + body, "sha256").hexdigest()
        headers["X-Flowledger-Signature"] = f"sha256={digest}"
    return headers


def _digest(key: str, text: str) -> bytes:
    return hmac.digest(key.encode(), text.encode(), "sha256")
