"""What to do about an error of PostgreSQL, by its SQLSTATE; by its words where a connection was refused."""

import re
from collections.abc import Mapping

CONFLICTS = frozenset({"40001", "40P01"})
"""Serialization failure, deadlock: the server took the whole transaction back."""

AWAY = "check that the server runs and can be reached from here, and the host and port of LEDGER_URL"
CREDENTIALS = "check the user and the password of LEDGER_URL, and the server's pg_hba.conf"
FULL = "its disk is full; what was held is intact: make room there and run again"
CROWDED = "it takes no more connections: use fewer workers, or raise its max_connections"
STARTING = "it is starting or stopping: run again in a moment"
LOST = "the connection was lost; nothing half-written remains: run again"
DAMAGED = "its files are damaged: restore a backup, or collect again into a new database"
OTHERWISE = "this should not happen: keep the database and report the message"

WAYS_OUT: Mapping[str, str] = {
    "08": LOST,
    "22021": "a text holds what the database cannot: report the message",
    "25006": "it may only be read (a standby, or set read-only): let LEDGER_URL name the primary server",
    "25P03": LOST,
    "28": CREDENTIALS,
    "3D000": "create the database: createdb --encoding UTF8 --template template0 --owner USER DATABASE",
    "3F000": "create the schema that LEDGER_URL's search_path names",
    "40": "other processes were in the way: run again",
    "42501": "the user may not do that: make it the owner of the database, or of a schema of its own",
    "53100": FULL,
    "53200": "the server has no memory left: give it more, or run again later",
    "53300": CROWDED,
    "54": "an id is longer than an index can take (2,700 bytes): look at what the source sends",
    "55P03": "another process keeps it locked: wait until that one has ended, or stop it",
    "57014": "it took too long or was cancelled: look at what keeps the server busy, and run again",
    "57P": STARTING,
    "58": "its disk gave an error: check the server's health and free space, then run again",
    "XX001": DAMAGED,
    "XX002": DAMAGED,
}
"""By the beginning of the SQLSTATE; the longest that fits counts."""

# libpq gives no SQLSTATE for a connection that was never made.
_SAID = (
    (re.compile(r"password|authentication|role .* does not exist|no pg_hba", re.IGNORECASE), CREDENTIALS),
    (re.compile(r"database .* does not exist"), WAYS_OUT["3D000"]),
    (re.compile(r"too many|connection slots"), CROWDED),
    (re.compile(r"starting up|shutting down|recovery"), STARTING),
    (re.compile(r"SSL|certificate"), "check sslmode and sslrootcert in LEDGER_URL, and the server's TLS"),
    (
        re.compile(r"invalid (connection|URI)|(bad|invalid) .*value|unrecognized"),
        "check the options in LEDGER_URL",
    ),
    (re.compile(r"server closed|lost|terminat|consuming input failed"), LOST),
    (re.compile(r"refused|resolve|translate|timeout|timed out|unreachable|No such file"), AWAY),
)


def way_out(state: str | None, said: str) -> str:
    """Give what a person can do about an error."""
    if state is None:
        return next((way for words, way in _SAID if words.search(said)), f"{AWAY}; {CREDENTIALS}")
    return next((WAYS_OUT[state[:end]] for end in (5, 3, 2) if state[:end] in WAYS_OUT), OTHERWISE)
