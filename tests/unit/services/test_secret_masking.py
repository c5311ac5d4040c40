"""Errors and values leave without secrets."""

from collections.abc import Iterator

import pytest

from flowledger.errors import FlowledgerError, SettingsError, SourceRefusedError
from flowledger.services.secret_masking import redacted, redacted_errors, redacted_value, register_secrets

SECRET = "open-sesame"


@pytest.fixture(autouse=True)
def _knowing() -> Iterator[None]:
    """One secret is known for each test, none after it."""
    register_secrets([SECRET])
    yield
    register_secrets([])


def fail(error: Exception, cause: Exception) -> None:
    """Raise an error that comes from another."""
    error.__context__ = cause
    raise error from cause


def test_newly_known_values_take_the_place_of_those_before() -> None:
    """A process has one set of settings."""
    register_secrets(["other-value"])
    assert redacted(f"{SECRET} other-value") == f"{SECRET} [redacted]"


def test_values_keep_their_shape() -> None:
    """Texts are cleaned in depth, names too; what is named like a secret is one."""
    given = {
        "n": 1,
        "ok": True,
        "none": None,
        SECRET: [f"a {SECRET}", {"x": SECRET}],
        "smtp_password": "short",
    }
    assert redacted_value(given) == {
        "n": 1,
        "ok": True,
        "none": None,
        "[redacted]": ["a [redacted]", {"x": "[redacted]"}],
        "smtp_password": "[redacted]",
    }


def test_a_value_that_holds_itself_ends() -> None:
    """A cycle becomes a text at some depth."""
    cycle: list[object] = [SECRET]
    cycle.append(cycle)
    assert SECRET not in str(redacted_value(cycle))


def test_an_error_keeps_its_kind_and_loses_its_secret() -> None:
    """Its message, its notes, its body and what it came from."""
    error = SourceRefusedError(f"refused {SECRET}", status=403, body=f"echo {SECRET}")
    error.add_note(SECRET)
    with pytest.raises(SourceRefusedError) as caught, redacted_errors():
        fail(error, ValueError(f"sent {SECRET}"))
    assert str(caught.value) == "refused [redacted]"
    assert caught.value.body == "echo [redacted]"
    assert caught.value.__notes__ == ["[redacted]"]
    assert str(caught.value.__cause__) == "sent [redacted]"


def test_settings_problems_are_cleaned_one_by_one() -> None:
    """They are shown from their list as well."""
    with pytest.raises(SettingsError) as caught, redacted_errors():
        raise SettingsError([f"A: {SECRET}", "B: fine"])
    assert caught.value.problems == ("A: [redacted]", "B: fine")


def test_an_error_whose_text_cannot_be_changed_is_replaced() -> None:
    """Its kind is said; neither it nor its cause is kept."""
    with pytest.raises(FlowledgerError) as caught, redacted_errors():
        raise OSError(2, "gone", f"/run/{SECRET}")
    assert str(caught.value).startswith("FileNotFoundError: ")
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__


def test_an_innocent_error_is_the_same_one() -> None:
    """Nothing about it changes."""
    error = ValueError("nothing secret")
    with pytest.raises(ValueError, match="nothing secret") as caught, redacted_errors():
        raise error
    assert caught.value is error


def test_a_cause_that_cannot_be_changed_is_cut_off() -> None:
    """Tracebacks show it otherwise."""
    with pytest.raises(FlowledgerError) as caught, redacted_errors():
        fail(FlowledgerError("not read"), OSError(2, "gone", f"/run/{SECRET}"))
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
