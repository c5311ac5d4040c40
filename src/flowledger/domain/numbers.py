"""Numbers from outside: read leniently, and within bounds that every format and database can carry."""

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal

from flowledger.domain.runs import Json

LARGEST = 2**63 - 1
"""The largest whole number of databases, Parquet and most readers of JSON."""
LONGEST = 400
"""Characters of a number's text; beyond it nobody counts anything."""

_MAGNITUDE = 18
_SMALLEST = -30
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,10})?")
# Enough for 19 digits before the point and 30 behind it.
_EXACT = Context(prec=50, rounding=ROUND_HALF_EVEN)


def decimal_of(value: Json) -> Decimal | None:
    """Read a number, or a text that is one in ASCII; None for anything else, NaN, infinity and absurd ones.

    Absurd are 10**19 and more: written out, an exponent of nine digits would fill a gigabyte.  What is behind
    the 30th place is rounded.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    if isinstance(value, int) and abs(value) > LARGEST:
        return None  # Python writes no integer of more than 4,300 digits
    text = str(value).strip()
    if len(text) > LONGEST or not _NUMBER.fullmatch(text):
        return None
    return _bounded(Decimal(text))


def integer_of(value: Json) -> int | None:
    """Read a whole number of 64 bits, or the text of one; a fraction is cut off.  None for anything else."""
    number = decimal_of(value)
    if number is None:
        return None
    whole = int(number)
    return whole if abs(whole) <= LARGEST else None


def _bounded(number: Decimal) -> Decimal | None:
    magnitude = number.adjusted()
    if not number:
        return number if _SMALLEST <= _exponent(number) <= _MAGNITUDE else Decimal(0)
    if magnitude > _MAGNITUDE:
        return None
    if magnitude < _SMALLEST:
        return Decimal(0)
    in_places = _exponent(number) < _SMALLEST
    return number.quantize(Decimal((0, (1,), _SMALLEST)), context=_EXACT) if in_places else number


def _exponent(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0
