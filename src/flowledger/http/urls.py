"""Addresses: base URLs as people write them, what counts as the same server, and what a message may show."""

import re
from ipaddress import ip_address
from urllib.parse import quote, urlencode, urlsplit

API_ROOTS = ("/v1", "/console/api")
DEFAULT_PORTS = {"http": 80, "https": 443}


def base_url(text: str) -> str:
    """Return a server's address without trailing slash and without the API's own root; a path prefix stays.

    :raises ValueError: saying why, when it is no http(s) address, or carries a user, a query or a fragment.
    """
    address = text.strip()
    parts = urlsplit(address)
    if parts.scheme not in DEFAULT_PORTS:
        raise ValueError("must begin with http:// or https://")
    if not parts.hostname or re.search(r"\s", address):
        raise ValueError("names no host, or has a space in it")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or password")
    if parts.query or parts.fragment:
        raise ValueError("must be the address alone, without a query (?) or a fragment (#)")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("has a port that is not a number from 0 to 65535") from None
    path = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~-._")
    for root in API_ROOTS:
        path = path.removesuffix(root).rstrip("/")
    return f"{parts.scheme}://{parts.netloc.lower()}{path}"


def join(base: str, path: str, params: dict[str, str]) -> str:
    """Return a full URL, values percent-encoded: a raw ``+`` is a space (docs/dify-api.md "The log list")."""
    query = urlencode(params, quote_via=quote)
    return f"{base}{path}?{query}" if query else f"{base}{path}"


def origin(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port, the default port filled in.

    :raises ValueError: when the port is not a number.
    """
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or DEFAULT_PORTS.get(parts.scheme)


def host_of(url: str) -> str:
    """Return a URL's host for a message, with the port where it is written."""
    return urlsplit(url).netloc.rpartition("@")[2]


def path_of(url: str) -> str:
    """Return a URL's path for a message; the query stays out because it can hold a person's words."""
    return urlsplit(url).path or "/"


def is_loopback(url: str) -> bool:
    """Return whether a URL names this machine, where no proxy can reach."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified)  # 0.0.0.0 is answered by this machine, too
