"""Prefect's settings before Prefect is imported."""

from pathlib import Path

from flowledger.flows.environment import QUIET, point_at, prepare

API = "http://prefect.example.com:4200/api"


def test_a_server_in_the_settings_is_used(tmp_path: Path) -> None:
    """No home is made for it."""
    environ: dict[str, str] = {}
    prepare(environ, api_url=API, home=tmp_path / "home")
    assert environ == {**QUIET, "PREFECT_API_URL": API}
    assert not (tmp_path / "home").exists()


def test_without_a_server_the_temporary_one_has_a_home_of_its_own(tmp_path: Path) -> None:
    """It never shares the database of a running server."""
    environ: dict[str, str] = {}
    prepare(environ, api_url=None, home=tmp_path / "outputs" / "home")
    assert environ == {**QUIET, "PREFECT_HOME": str(tmp_path / "outputs" / "home")}
    assert (tmp_path / "outputs").is_dir()


def test_what_is_set_already_stays(tmp_path: Path) -> None:
    """The environment is the strongest place."""
    given = {"PREFECT_API_URL": API, "PREFECT_HOME": "/home/of/mine", "DO_NOT_TRACK": "0"}
    environ = dict(given)
    prepare(environ, api_url="http://other.example.com/api", home=tmp_path)
    assert environ == {**QUIET, **given}


def test_an_empty_address_is_none(tmp_path: Path) -> None:
    """A variable that was exported empty does not stand against the settings."""
    environ = {"PREFECT_API_URL": " "}
    prepare(environ, api_url=API, home=tmp_path)
    assert environ["PREFECT_API_URL"] == API
    environ = {"PREFECT_API_URL": ""}
    prepare(environ, api_url=None, home=tmp_path / "home")
    assert "PREFECT_API_URL" not in environ
    assert environ["PREFECT_HOME"] == str(tmp_path / "home")


def test_no_tracking() -> None:
    """Nothing is sent to anybody."""
    assert (QUIET["DO_NOT_TRACK"], QUIET["PREFECT_SERVER_ANALYTICS_ENABLED"]) == ("1", "false")


def test_a_server_on_this_machine_is_never_behind_a_proxy() -> None:
    """Prefect's own clients read the variable; what it names already stays."""
    environ = {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "intranet.example.com"}
    point_at(environ, api_url="http://127.0.0.1:4200/api")
    whole = "intranet.example.com,localhost,127.0.0.1,::1"
    assert (environ["NO_PROXY"], environ["no_proxy"]) == (whole, whole)
    point_at(environ, api_url=None)
    assert environ["NO_PROXY"] == whole
