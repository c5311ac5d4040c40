"""Releases: reading, comparing, login forms."""

import pytest

from flowledger.dify.credentials import LoginForm, Release, login_form


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.12.1", Release(1, 12, 1)),
        (" v1.13.3-fix2 ", Release(1, 13, 3)),
        ("1.2", Release(1, 2)),
        ("nightly", None),
        ("", None),
        ("１.２.３", None),
    ],
)
def test_text_of_a_version_header(text: str, expected: Release | None) -> None:
    """A release is read from its numbers; a fork's own word is no release."""
    assert Release.parse(text) == expected


def test_releases_compare_by_number() -> None:
    """1.9.2 lies before 1.10.0, although its text does not."""
    assert Release(1, 9, 2) < Release(1, 10) < Release(1, 12, 1)
    assert str(Release(1, 10)) == "1.10.0"


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("0.15.3", LoginForm.BEARER),
        ("1.9.1", LoginForm.BEARER),
        ("1.9.2", LoginForm.COOKIES),
        ("1.11.1", LoginForm.COOKIES),
        ("1.11.2", LoginForm.COOKIES_BASE64),
        ("1.16.0", LoginForm.COOKIES_BASE64),
        ("nightly", LoginForm.COOKIES_BASE64),
    ],
)
def test_login_form_by_release(text: str, form: LoginForm) -> None:
    """The login changed in 1.9.2 and 1.11.2; an unknown release gets the newest form."""
    assert login_form(Release.parse(text)) is form
