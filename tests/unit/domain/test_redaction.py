"""No secret survives in a text, and nothing else is touched."""

import html
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flowledger.domain.redaction import MARK, SHORTEST_ENCODED, redactor

SECRETS = st.text(st.characters(codec="utf-8", exclude_characters="[]"), min_size=4, max_size=60).map(
    str.strip
)
PLANTED = SECRETS.filter(lambda text: len(text) >= 4 and "://" not in text and text not in MARK)
HEX = "0123456789abcdef"


@pytest.mark.parametrize(
    "spelled",
    [
        str,
        quote,
        quote_plus,
        lambda text: quote(text, safe=""),
        lambda text: json.dumps(text)[1:-1],
        lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
        lambda text: repr(text)[1:-1],
        html.escape,
    ],
)
@given(PLANTED, st.text(), st.text())
def test_a_planted_secret_never_survives(
    spelled: Callable[[str], str], secret: str, before: str, after: str
) -> None:
    """However it is spelled, and whatever stands around it."""
    found = redactor([secret])(before + spelled(secret) + after)
    assert spelled(secret) not in found


@given(PLANTED, st.binary(max_size=20), st.binary(max_size=20))
def test_nor_does_its_base64(secret: str, before: bytes, after: bytes) -> None:
    """A header of a name, a colon and a password is base64 in any of three alignments."""
    value = secret.encode()
    assume(len(value) >= SHORTEST_ENCODED)
    for encode in (b64encode, urlsafe_b64encode):
        encoded = encode(before + value + after).decode()
        assert MARK in redactor([secret])(f"seen: {encoded}")


@given(st.lists(PLANTED, max_size=4))
def test_words_of_people_are_left_alone(secrets: list[str]) -> None:
    """A text without a secret is given back as it is."""
    text = "日报 2026-11-21: 40 rows!"
    assume(not any(form in text for form in redactor(secrets).forms))
    assert redactor(secrets)(text) == text


@pytest.mark.parametrize("secret", ["", "a", "123", "  "])
def test_short_values_are_not_looked_for(secret: str) -> None:
    """They would hide parts of innocent words."""
    assert redactor([secret])("a 123") == "a 123"


def test_the_longer_of_two_values_is_hidden_whole() -> None:
    """A value that begins like another leaves no rest."""
    assert redactor(["open", "open-sesame"])("open-sesame open") == f"{MARK} {MARK}"


@pytest.mark.parametrize(
    ("address", "hidden", "shown"),
    [
        ("sqlite:////data/ledger.db", [], ["sqlite:////data/ledger.db"]),
        ("postgresql://ledger:p%40ss%2Fw@db.example.com/l", ["p%40ss%2Fw", "p@ss/w"], ["db.example.com"]),
        (
            "https://bot.example.com/robot/send?access_token=0123456789abcdef",
            ["0123456789abcdef", "/robot/send?access_token=0123456789abcdef"],
            ["https://bot.example.com", "send"],
        ),
        ("https://bot.example.com/v2/in/0123456789ab", ["0123456789ab"], ["https://bot.example.com/v2/in/"]),
        ("https://mail:pass-word@example.com/a", ["pass-word"], ["example.com"]),
        ("https://example.com", [], ["https://example.com"]),
    ],
)
def test_of_an_address_only_what_opens_something_is_hidden(
    address: str, hidden: list[str], shown: list[str]
) -> None:
    """Hosts and files stay readable in messages."""
    redact = redactor([address])
    for text in hidden:
        assert text not in redact(f"failed: {text} (refused)")
    for text in shown:
        assert redact(f"failed: {text} (refused)") == f"failed: {text} (refused)"


def test_a_value_shows_in_no_repr() -> None:
    """What hides secrets does not tell them."""
    assert "open-sesame" not in repr(redactor(["open-sesame"]))


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"Authorization: Bearer {HEX}", HEX),
        ("authorization: 'Basic b3BzOnNlc2FtZQ=='", "b3BzOnNlc2FtZQ=="),
        (f"sent Bearer {HEX}", HEX),
        ("sent Basic b3BzOnNlc2FtZQ", "b3BzOnNlc2FtZQ"),
        (f"key app-{HEX}AB was refused", f"{HEX}AB"),
        (f"POST /robot/send?access_token={HEX}&timestamp=1", HEX),
        ("POST /webhook/send?key=short-key", "short-key"),
        ("POST /send?timestamp=1&sign=a%2Bb%3D", "a%2Bb%3D"),
        (f"https://s3.example.com/r.csv?X-Amz-Signature={HEX}", HEX),
        (f"POST /open-apis/bot/v2/hook/{HEX}", HEX),
        ("password=open sesame", "open"),
        ('{"password": "open \\" sesame"}', "sesame"),
        ("{'api_key': 'open sesame'}", "sesame"),
        ("https://ops:open-sesame@example.com/", "open-sesame"),
        ("amqp://ops:open@sesame@example.com/", "open@sesame"),
        (f"Cookie: session={HEX}; csrf_token=abc", HEX),
        ("Set-Cookie: __Host-access_token=abcdef; Path=/", "abcdef"),
        ("__Host-csrf_token=abcdef", "abcdef"),
        ("X-CSRF-Token: abcdef", "abcdef"),
        ("x-api-key: abcdef", "abcdef"),
        ("250 AUTH PLAIN AG9wcwBzZXNhbWU=", "AG9wcwBzZXNhbWU="),
        ("enc:" + "gAAAA" + HEX * 2, HEX),
        ("eyJ" + HEX + "." + HEX + "." + HEX, HEX),
        ("A" * 43 + "=", "A" * 43),
        ("AK" + "IA" + "A" * 16, "A" * 16),
        ("LT" + "AI" + "A" * 16, "A" * 16),
        ("SEC" + HEX * 4, HEX),
        ("-----BEGIN " + "PRIVATE KEY-----\nMIIE\n-----END", "MIIE"),
    ],
)
def test_what_looks_like_a_token_is_hidden(text: str, secret: str) -> None:
    """Whoever gave it, and however often it is looked at."""
    found = redactor([])(text)
    assert secret not in found
    assert MARK in found
    assert redactor([])(found) == found


@pytest.mark.parametrize(
    "text",
    [
        "DIFY_API_TOKEN: the credentials were refused (401): wrong password: try again",
        "Bearer authentication is needed; basic information follows",
        "app-logs of app support: 40 runs, 12 tokens, key of the app is missing",
        "sorted by key=name, tokens=1200, no cookie: log in again",
        "https://dify.example.com:8443/v1/workflows/logs?page=1&limit=100",
        "0d9f2a34-5c1e-4f0e-9b1e-000000000000 at 2026-11-21T00:00:00+08:00",
        "sha256 " + HEX * 4,
        "写入 /reports/客服/2026-11-21.csv：完成",
        "AUTH is not offered; authorization was refused",
    ],
)
def test_ordinary_lines_stay_whole(text: str) -> None:
    """Words about secrets are not secrets."""
    assert redactor(["open-sesame"])(text) == text
