"""Prefect's own settings, as Flowledger wants them; applied before Prefect is first imported."""

from collections.abc import Mapping, MutableMapping
from pathlib import Path

from flowledger.domain.texts import split_list
from flowledger.http.session import BUNDLE_VARIABLES

QUIET: Mapping[str, str] = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # Its default of 20 s is too short for the first start on a busy machine (migrations).
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}


PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


def prepare(environ: MutableMapping[str, str], *, api_url: str | None, home: Path) -> None:
    """Point Prefect at a server, or at a home of its own for an ephemeral one; what is set already stays.

    An ephemeral server never shares the home of a running one: SQLite would answer "database is locked".
    """
    for name, value in QUIET.items():
        environ.setdefault(name, value)
    _set_address(environ, api_url)
    if "PREFECT_API_URL" not in environ:
        # Prefect makes its home, but not the folders above it.
        home.mkdir(parents=True, exist_ok=True)
        environ.setdefault("PREFECT_HOME", str(home.resolve()))


def point_at(environ: MutableMapping[str, str], *, api_url: str | None) -> None:
    """Point Prefect at a server; without an address, the one of its active profile counts."""
    for name, value in QUIET.items():
        environ.setdefault(name, value)
    _set_address(environ, api_url)


def _set_address(environ: MutableMapping[str, str], api_url: str | None) -> None:
    """Name a server where none is named yet; an empty variable names none."""
    if not environ.get("PREFECT_API_URL", "").strip():
        environ.pop("PREFECT_API_URL", None)
    if api_url:
        environ.setdefault("PREFECT_API_URL", api_url)
    _spare_this_machine(environ)
    _trust_as_others_do(environ)


def _trust_as_others_do(environ: MutableMapping[str, str]) -> None:
    """Let Prefect's clients trust the authorities that the environment names for ours."""
    path = next(filter(None, map(environ.get, BUNDLE_VARIABLES)), None)
    if path and Path(path).is_file():
        environ.setdefault("PREFECT_API_SSL_CERT_FILE", path)


def _spare_this_machine(environ: MutableMapping[str, str]) -> None:
    """Let Prefect's clients reach this machine without a proxy, as ours do: no server here is behind one."""
    if not any(environ.get(name) for each in PROXIES for name in (each, each.lower())):
        return
    for name in ("NO_PROXY", "no_proxy"):
        words = split_list(environ.get(name) or environ.get("NO_PROXY", ""))
        environ[name] = ",".join(dict.fromkeys((*words, *THIS_MACHINE)))
