"""Prefect's profile of this installation: where the server is, and what a server started here keeps."""

from collections.abc import Mapping

from prefect.settings import Profile, ProfilesCollection
from prefect.settings.profiles import load_profiles, save_profiles

NAME = "flowledger"
KEPT_S = 90 * 24 * 3600
LOCAL_SERVER = "http://127.0.0.1:4200/api"
VACUUM: Mapping[str, str] = {
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(KEPT_S),
}
"""Prefect deletes old flow runs only when its settings say so."""
LEASES: Mapping[str, str] = {
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
}
"""In memory, Prefect's own choice, a restart forgets them, and cancels runs that are about to begin."""
SERVER_SETTINGS: Mapping[str, str] = {**VACUUM, **LEASES, "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
"""What a server reads when it starts, under this profile or from its own environment."""


def write_profile(api_url: str) -> str:
    """Make the profile active, with the server's address; other profiles and values of it stay."""
    profiles = load_profiles()
    before = (profiles.active_name, _settings_of(profiles))
    desired = {**SERVER_SETTINGS, **before[1], "PREFECT_API_URL": api_url}
    if before == (NAME, desired):
        return "unchanged"
    if NAME in profiles.names:
        profiles.remove_profile(NAME)
    profiles.add_profile(Profile.model_validate({"name": NAME, "settings": desired}))
    profiles.set_active(NAME)
    save_profiles(profiles)
    return "written"


def _settings_of(profiles: ProfilesCollection) -> Mapping[str, str]:
    return profiles[NAME].to_environment_variables() if NAME in profiles.names else {}


def active_address() -> str | None:
    """Return the address of the server that the active profile names, None without one."""
    profiles = load_profiles()
    active = profiles.active_profile
    return active.to_environment_variables().get("PREFECT_API_URL") if active else None
