"""A root folder of one's own, so that no test meets the real environment or files."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from flowledger.errors import SettingsError
from flowledger.settings import ConfigManager, Settings

APP = {
    "DIFY_BASE_URL": "https://dify.example.com",
    "DIFY_API_TOKEN": "app-simulated",
    "DIFY_APP_ID": "app-1",
}

Load = Callable[..., Settings]
Problems = Callable[..., tuple[str, ...]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load settings of the texts given as .env and settings.yaml."""

    def load_texts(
        environ: Mapping[str, str] | None = None,
        *,
        env_file: str = "",
        yaml_file: str = "",
        arguments: Mapping[str, object] | None = None,
        need_app: bool = True,
    ) -> Settings:
        (tmp_path / "config").mkdir(exist_ok=True)
        (tmp_path / ".env").write_text(env_file, "utf-8")
        (tmp_path / "config/settings.yaml").write_text(yaml_file, "utf-8")
        return ConfigManager(tmp_path, environ or {}).load(arguments, need_app=need_app)

    return load_texts


@pytest.fixture
def problems(load: Load) -> Problems:
    """Give the problems that loading ends with."""

    def load_and_fail(*args: object, **options: object) -> tuple[str, ...]:
        with pytest.raises(SettingsError) as caught:
            load(*args, **options)
        return caught.value.problems

    return load_and_fail


@pytest.fixture
def app() -> dict[str, str]:
    """The variables of one complete app."""
    return dict(APP)
