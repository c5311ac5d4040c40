"""Signing: the same for the same time, as the makers describe it."""

import hmac
from base64 import b64encode
from urllib.parse import parse_qs, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from flowledger.notify.chat_bots import dingtalk_address, feishu_sign, webhook_headers


@given(at_ms=st.integers(0, 2**42))
def test_dingtalks_sign_is_encoded_once(at_ms: int) -> None:
    """One decoding of the address gives base64 again, for any time."""
    query = parse_qs(urlsplit(dingtalk_address("https://example.com/send?access_token=k", "s", at_ms)).query)
    wanted = b64encode(hmac.digest(b"s", f"{at_ms}\ns".encode(), "sha256")).decode()
    assert query == {"access_token": ["k"], "timestamp": [str(at_ms)], "sign": [wanted]}


def test_dingtalks_address_without_a_query_gets_one() -> None:
    """A relay's address may have no query of its own."""
    assert dingtalk_address("https://example.com/send", "s", 1).startswith(
        "https://example.com/send?timestamp=1&"
    )


def test_feishu_signs_nothing_with_time_and_secret() -> None:
    """Time and secret are the key, the text is empty."""
    assert feishu_sign("s", 1) == b64encode(hmac.digest(b"1\ns", b"", "sha256")).decode()


def test_the_webhooks_signature_covers_time_and_body() -> None:
    """Another time or body has another signature; without a secret there is none."""
    first = webhook_headers(b"{}", "s", 1)
    wanted = hmac.digest(b"s", b"1.{}", "sha256").hex()
    assert first == {"X-Flowledger-Timestamp": "1", "X-Flowledger-Signature": f"sha256={wanted}"}
    assert webhook_headers(b"{}", None, 1) == {"X-Flowledger-Timestamp": "1"}
