"""What a ledger's typed texts and numbers can hold, the same in every backend."""

import re

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
LARGEST = 2**63 - 1
_HOSTILE = re.compile("[\0\ud800-\udfff]")


def clean(text: str) -> str:
    """Replace NUL and lone surrogates, which databases refuse; raw bodies keep them exactly."""
    if text.isascii() and "\0" not in text:
        return text
    return _HOSTILE.sub(REPLACEMENT, text)


def fitting(number: int) -> int | None:
    """Give a number that fits in 64 bits, and None for an absurd one, which only the raw body keeps."""
    return number if -LARGEST <= number <= LARGEST else None
