"""A PostgreSQL for tests: the one that is named, the one that answers here, or one made of Debian's binaries.

Every database and schema made for a test is dropped at the end.
"""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

HERE = "postgresql://127.0.0.1:5432/postgres?connect_timeout=3"
BINARIES = "usr/lib/postgresql/*/bin"
MISSING = (
    "no PostgreSQL for the tests: name one in TEST_POSTGRES_URL (its user may create databases),"
    " or install it (Debian: apt-get install postgresql)"
)
HASTY = "-c synchronous_commit=off -c client_min_messages=warning"
"""What tests write need not survive a power cut."""


def answers(url: str) -> bool:
    """Whether a server takes this URL."""
    import psycopg

    try:
        psycopg.connect(url).close()
    except psycopg.Error:
        return False
    return True


def execute(url: str, *statements: str) -> None:
    """Execute statements, each in a transaction of its own."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def with_database(url: str, database: str, options: str = HASTY) -> str:
    """Give the URL of another database of the same server."""
    import sqlalchemy as sa

    changed = sa.make_url(url).set(database=database).update_query_dict({"options": options})
    return changed.render_as_string(hide_password=False).replace("+", "%20")  # libpq takes no + for a space


@contextmanager
def server_of_its_own(binaries: Path) -> Iterator[str]:
    """Run a server in a temporary folder; as another user where this one is root, which it refuses."""
    folder = Path(tempfile.mkdtemp(prefix="flowledger-postgresql-"))
    user = "nobody" if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [binaries / program, *arguments], user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL
        )

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    data = str(folder / "data")
    serve = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    try:
        run("initdb", "-D", data, "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync")
        run("pg_ctl", "-D", data, "-l", str(folder / "log"), "-o", serve, "-w", "start")
        try:
            yield f"postgresql://tester@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a database of a server where databases may be created.

    Where none can be had, tests fail in CI, and are skipped elsewhere.
    """
    with ExitStack() as stack:
        named = os.environ.get("TEST_POSTGRES_URL")
        binaries = sorted(Path("/").glob(BINARIES))
        if named:
            yield named
        elif answers(HERE):
            yield HERE
        elif binaries:
            yield stack.enter_context(server_of_its_own(binaries[-1]))
        elif os.environ.get("CI"):
            pytest.fail(MISSING)
        else:
            pytest.skip(MISSING)


@pytest.fixture(scope="session")
def postgresql_database(postgresql_server: str) -> Iterator[str]:
    """The URL of a database of this process's own, whose language sorts otherwise than code points do."""
    name = f"flowledger_test_{os.getpid()}_{uuid4().hex[:8]}"
    execute(
        postgresql_server,
        f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"
        " LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C.UTF-8'",
    )
    yield with_database(postgresql_server, name)
    execute(postgresql_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def new_postgresql(postgresql_database: str) -> Iterator[Callable[[], str]]:
    """Make URLs of empty schemas, each a ledger's place of its own."""
    made: list[str] = []

    def make() -> str:
        import sqlalchemy as sa

        schema = f"s{uuid4().hex[:12]}"
        execute(postgresql_database, f"CREATE SCHEMA {schema}")
        made.append(schema)
        database = sa.make_url(postgresql_database).database or ""
        return with_database(postgresql_database, database, f"{HASTY} -c search_path={schema}")

    yield make
    execute(postgresql_database, *(f"DROP SCHEMA {schema} CASCADE" for schema in made))
