"""The shapes of addresses: of web servers, hosts, mail, people in chats, buckets, files."""

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from unicodedata import normalize
from urllib.parse import SplitResult, urlsplit

from flowledger.domain.mail_addresses import read_mail_address
from flowledger.http.urls import base_url


def web_parts(text: str) -> SplitResult:
    """Return the parts of a web address; no message quotes it, as those of chat bots hold their key.

    :raises ValueError: naming what is wrong.
    """
    _refuse_full_width(text, "：／．＠")
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ValueError("has a host, or a port that is not a number from 0 to 65535") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError("must begin with http:// or https://")
    if not parts.hostname or re.search(r"\s", text):
        raise ValueError("names no host, or has a space in it")
    return parts


def check_base_url(text: str) -> str:
    """Refuse what is no address of a server, and return it without the API's own root."""
    _refuse_full_width(text, "：／．＠")
    return base_url(text)


def check_host(text: str) -> str:
    """Refuse what is more or less than the name or IP address of a machine."""
    _refuse_full_width(text, "：／．＠，；")
    try:
        return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        pass  # then it has to be a name
    if re.fullmatch(r"[^:/]+:[0-9]+", text):
        raise ValueError("must be the host alone: its port is a setting of its own")
    if not re.fullmatch(r"[\w-]+(\.[\w-]+)*\.?", text):
        raise ValueError("must be the host alone, such as smtp.example.com")
    return text


def check_mail_address(text: str) -> str:
    """Refuse what is no mail address."""
    _refuse_full_width(text, "＠．：")
    read_mail_address(text)
    return text


def check_receivers(words: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse a list of receivers in which nobody can be reached.

    Where somebody can, a mistyped address must not stop the mail to the others:
    ``flowledger.settings.problems.doubts_about`` names it.
    """
    wrong = list(bad_words(words, check_mail_address))
    if words and len(wrong) == len(words):
        raise ValueError("; ".join(wrong))
    return words


def check_mobile(text: str) -> str:
    """Refuse what is neither a telephone number nor ``all``."""
    if not re.fullmatch(r"all|\+?[0-9][0-9-]{4,19}", text):
        raise ValueError("must be a mobile number such as 13800138000, or all")
    return text


def check_person(text: str) -> str:
    """Refuse what is no telephone number, no id of a person, and not ``all``."""
    if not re.fullmatch(r"\+?[\w.@-]+", text, re.ASCII):
        raise ValueError("must be a mobile number, the id of a person, or all")
    return text


def check_bucket_name(text: str) -> str:
    """Refuse what is more than the name of a bucket; S3's access points have an ARN instead."""
    if re.fullmatch(r"arn:[\w:/.-]+", text, re.ASCII):
        return text
    if "://" in text or "/" in text:
        raise ValueError("must be the bucket's name alone: a folder in it is STORAGE_PREFIX")
    if not re.fullmatch(r"[\w.-]{1,255}", text, re.ASCII):
        raise ValueError("must be the name of a bucket: letters, digits, dot, dash and underscore")
    return text


def check_endpoint(text: str) -> str:
    """Refuse what is no address of a storage server; ``https://`` may be left out."""
    if "://" in text:
        return _whole_endpoint(text)
    _refuse_full_width(text, "：／．＠")
    _whole_endpoint(f"https://{text}")
    return text


def _whole_endpoint(text: str) -> str:
    if web_parts(text).query or web_parts(text).fragment:
        raise ValueError("must be the address alone, without ? or #")
    return text


def names_bucket(endpoint: str, bucket: str) -> bool:
    """Return whether an endpoint names its bucket too, before the host or as its path."""
    parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
    host = (parts.hostname or "").lower()
    return host.startswith(f"{bucket.lower()}.") or parts.path.strip("/").split("/")[0] == bucket


RECEIVERS: Mapping[tuple[str, str], Callable[[str], str]] = {
    ("email", "to"): check_mail_address,
    ("dingtalk", "at"): check_mobile,
    ("wechat", "at"): check_person,
    ("feishu", "at"): check_person,
}
"""Type of channel and option that lists people → the check of one of them."""


def bad_words(words: Sequence[str], check: Callable[[str], str]) -> Iterator[str]:
    """Yield a text for each word that a check refuses: the word, and why."""
    for word in words:
        try:
            check(word)
        except ValueError as error:
            yield f"{word!r:.120} {error}"


def _refuse_full_width(text: str, characters: str) -> None:
    wide = next((each for each in text if each in characters), None)
    if wide is not None:
        raise ValueError(f"has the full-width character {wide}: write {normalize('NFKC', wide)}")


_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|([A-Za-z_]\w*))", re.ASCII)


def absolute_path(text: str, root: Path, variables: Mapping[str, str]) -> Path:
    """Return a path with ``~``, ``$NAME`` and ``${NAME}`` replaced as a shell does it.

    Relative ones begin at a root.

    :raises ValueError: naming a variable that is not set, or ``~`` of a user without a home.
    """

    def value_of(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if not variables.get(name):
            # A folder called "$HOME" below the current one would be a second ledger that nobody looks for.
            raise ValueError(f"names ${name}, which is not set here: write the whole path")
        return variables[name]

    try:
        return (root / Path(_VARIABLE.sub(value_of, text)).expanduser()).absolute()
    except RuntimeError:
        raise ValueError(f"{text}: this user has no home folder, write the whole path") from None
