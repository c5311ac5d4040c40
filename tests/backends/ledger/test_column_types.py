"""Whole columns are converted as values one by one are."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.ledger.sql.column_types import UtcDateTime, money_from, money_text

ZONES = st.sampled_from([UTC, timezone(timedelta(hours=8)), timezone(timedelta(hours=-9, minutes=-30))])
# Within a day of either end an instant may have no UTC.
INSTANTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=ZONES)  # noqa: DTZ001  zones follow


@given(st.lists(st.none() | INSTANTS | INSTANTS.map(lambda at: at.replace(microsecond=0))))
def test_instants_are_written_in_utc_with_microseconds(times: list[datetime | None]) -> None:
    """Texts of one length, so that they sort as the instants do."""
    texts = [
        at and f"{at.astimezone(UTC).replace(tzinfo=None).isoformat(' ', 'microseconds')}" for at in times
    ]
    assert UtcDateTime.column(times) == texts


def test_an_amount_beyond_all_bounds_is_left_out() -> None:
    """Taken for nothing, a run of unknown cost would be one that was free."""
    assert money_from('{"USD": "Infinity", "RMB": "0.5"}') == {"RMB": Decimal("0.5")}


def test_an_instant_without_zone_is_refused() -> None:
    """It could mean any hour."""
    with pytest.raises(ValueError, match="has no time zone"):
        UtcDateTime.column([datetime(2026, 11, 1)])  # noqa: DTZ001  what is refused


@given(
    st.dictionaries(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
        st.decimals(-(10**9), 10**9, allow_nan=False, allow_infinity=False, places=12),
    )
)
def test_money_comes_back_digit_for_digit(amounts: dict[str, Decimal]) -> None:
    """Whatever the currency is called."""
    assert {name: str(each) for name, each in money_from(money_text(amounts)).items()} == {
        name: str(each) for name, each in amounts.items()
    }
