"""``flowledger secrets``: new-key, encrypt and rotate."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pydantic import SecretStr

from flowledger import bootstrap
from flowledger.cli.main import cli
from flowledger.errors import SettingsError, UnreadableSecretError, UsageError
from flowledger.settings import ConfigManager
from flowledger.settings.encryption import encrypt, new_key
from flowledger.settings.references import Keyring, read


def run(root: Path, environ: dict[str, str], *words: str, typed: str = "") -> Result:
    """Call the command line with settings of a folder and an environment of its own."""
    with bootstrap.configured(ConfigManager(root, environ)):
        return CliRunner().invoke(cli, ["secrets", *words], standalone_mode=False, input=typed)


def test_a_new_key_is_printed_or_written_for_the_owner_alone(tmp_path: Path) -> None:
    """A file is made readable for nobody else and never overwritten."""
    assert len(run(tmp_path, {}, "new-key").output.strip()) == 44
    file = tmp_path / "secret.key"
    assert run(tmp_path, {}, "new-key", "--file", str(file)).return_value == 0
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.read_bytes()
    again = run(tmp_path, {}, "new-key", "--file", str(file))
    assert isinstance(again.exception, SettingsError)
    assert "is not overwritten" in str(again.exception)
    assert file.read_bytes() == before


def test_encrypt_takes_the_secret_from_standard_input(tmp_path: Path) -> None:
    """The line break at its end is no part of it; the result is read back with the key."""
    key = new_key()
    (tmp_path / ".env").write_text(f"FLOWLEDGER_SECRET_KEY={key}\nTIMEZONE=Mars\n", "utf-8")
    found = run(tmp_path, {}, "encrypt", typed="planted secret \n").output.strip()
    assert found.startswith("enc:")
    assert "planted" not in found
    assert read(found, Keyring(keys=(SecretStr(key),))).get_secret_value() == "planted secret "


@pytest.mark.parametrize(
    ("environ", "typed", "error", "words"),
    [
        ({}, "x", UnreadableSecretError, "there is no key: set FLOWLEDGER_SECRET_KEY"),
        ({"FLOWLEDGER_SECRET_KEY": "short"}, "x", UnreadableSecretError, "is no key"),
        (
            {"FLOWLEDGER_SECRET_KEY_FILE": "no"},
            "x",
            SettingsError,
            "FLOWLEDGER_SECRET_KEY_FILE in environment",
        ),
        ({"FLOWLEDGER_SECRET_KEY": new_key()}, "\n", UsageError, "the secret is empty"),
    ],
)
def test_what_cannot_be_encrypted_is_said(
    tmp_path: Path, environ: dict[str, str], typed: str, error: type[Exception], words: str
) -> None:
    """Without a key, or without a secret, nothing is printed."""
    found = run(tmp_path, environ, "encrypt", typed=typed)
    assert isinstance(found.exception, error)
    assert words in str(found.exception)
    assert found.output == ""


def test_a_secret_is_no_argument(tmp_path: Path) -> None:
    """A word after the command would be seen in the list of processes."""
    found = run(tmp_path, {"FLOWLEDGER_SECRET_KEY": new_key()}, "encrypt", "planted")
    assert found.exception is not None
    assert "unexpected extra argument" in str(found.exception)


def test_rotate_says_what_it_did(tmp_path: Path) -> None:
    """Each file with its number of secrets; none is an answer too."""
    old, new = new_key(), new_key()
    assert "nothing is encrypted" in run(tmp_path, {}, "rotate").output
    (tmp_path / "config").mkdir()
    file = tmp_path / "config/settings.yaml"
    file.write_text(f"smtp_password: {encrypt('x', [SecretStr(old)])}\n", "utf-8")
    found = run(tmp_path, {"FLOWLEDGER_SECRET_KEY": f"{new},{old}"}, "rotate")
    assert found.output == f"{file}: 1 secret(s) encrypted again\n"
    with bootstrap.configured(ConfigManager(tmp_path, {"FLOWLEDGER_SECRET_KEY": new})):
        assert bootstrap.load_settings(need_app=False).smtp_password == SecretStr("x")
