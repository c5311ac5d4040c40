"""Where a Dify answers: base URLs as people write them, and what counts as the same server."""

from typing import NoReturn
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from flowledger.errors import SettingsError

API_ROOTS = ("/v1", "/console/api")
DEFAULT_PORTS = {"http": 80, "https": 443}
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def normalise(base_url: str) -> str:
    """Give a base URL without trailing slash and without the API's own root.

    :raises SettingsError: when it is no http(s) address, or carries a user, a query or a fragment.
    """
    parts = _split(base_url.strip())
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        _refuse("must begin with http:// or https:// and name a host")
    if "@" in parts.netloc:
        _refuse("must not hold a user name or password")
    if parts.query or parts.fragment:
        _refuse("must not hold a query (?) or a fragment (#)")
    path = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~-._")
    for root in API_ROOTS:
        path = path.removesuffix(root).rstrip("/")
    return f"{parts.scheme}://{parts.netloc.lower()}{path}"


def join(base: str, path: str, params: dict[str, str]) -> str:
    """Return a full URL, values percent-encoded: a raw ``+`` is a space (docs/dify-api.md "The log list")."""
    query = urlencode(params, quote_via=quote)
    return f"{base}{path}?{query}" if query else f"{base}{path}"


def origin(url: str) -> tuple[str, str, int | None]:
    """Give scheme, host and port, the default port filled in.

    :raises ValueError: when the port is not a number.
    """
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or DEFAULT_PORTS.get(parts.scheme)


def host_of(url: str) -> str:
    """Name a URL's host for a message, with the port where it is written."""
    return urlsplit(url).netloc.rpartition("@")[2]


def path_of(url: str) -> str:
    """Name a URL's path for a message; the query stays out because it can hold a person's words."""
    return urlsplit(url).path or "/"


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine, where no proxy can reach."""
    return urlsplit(url).hostname in LOOPBACK


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        _refuse(f"is not an address ({error})")
    return parts


def _refuse(problem: str) -> NoReturn:
    raise SettingsError([f"DIFY_BASE_URL: {problem}, such as https://dify.example.com"])
