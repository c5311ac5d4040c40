"""Encrypting again with a newer key: all files or none, and nothing else in them changes."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from flowledger.errors import SettingsError
from flowledger.settings.encryption import TOKEN, encrypt, new_key, rotate
from flowledger.settings.references import Keyring, read

OLD, NEW = SecretStr(new_key()), SecretStr(new_key())
BOTH = (NEW, OLD)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with encrypted secrets in three files."""
    (tmp_path / "config").mkdir()
    settings = f"# mine  # enc:old-nonsense\r\na: 1\r\nb: {encrypt('one', [OLD])} # note\r\n"
    (tmp_path / "config/settings.yaml").write_bytes(settings.encode())
    (tmp_path / "config/settings.yaml").chmod(0o640)
    (tmp_path / "config/prod.yaml").write_text(f'c: ["{encrypt("two", [OLD])}", {encrypt("three", [NEW])}]\n')
    (tmp_path / ".env").write_text(f"SMTP_PASSWORD={encrypt('four', [OLD])}\n")
    return tmp_path


def secrets_of(file: Path, key: SecretStr) -> list[str]:
    """Read what a file's secrets are with one key alone."""
    tokens = [found for found in TOKEN.findall(file.read_bytes()) if found != b"old-nonsense"]
    return [read(f"enc:{token.decode()}", Keyring(keys=(key,))).get_secret_value() for token in tokens]


def test_every_secret_is_readable_with_the_newest_key_alone(root: Path) -> None:
    """YAML files and .env files are done, each with the number of its secrets."""
    done = {each.file.name: each.secrets for each in rotate(root, BOTH)}
    assert done == {"settings.yaml": 1, "prod.yaml": 2, ".env": 1}
    assert secrets_of(root / "config/settings.yaml", NEW) == ["one"]
    assert secrets_of(root / "config/prod.yaml", NEW) == ["two", "three"]
    assert secrets_of(root / ".env", NEW) == ["four"]


def test_all_else_in_the_files_stays(root: Path) -> None:
    """Comments, line ends and the file's mode are as before, and nothing is left beside it."""
    file = root / "config/settings.yaml"
    before = TOKEN.sub(b"", file.read_bytes())
    rotate(root, BOTH)
    assert TOKEN.sub(b"", file.read_bytes()) == before
    assert file.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in file.parent.iterdir()) == ["prod.yaml", "settings.yaml"]


def test_one_that_no_key_opens_leaves_all_as_they_are(root: Path) -> None:
    """Every closed one is named by line and file, and none is half done."""
    before = {file: file.read_bytes() for file in root.rglob("*") if file.is_file()}
    with pytest.raises(SettingsError) as caught:
        rotate(root, [NEW])
    assert [line.split(":")[0] for line in caught.value.problems] == [
        "line 1 of config/prod.yaml",
        "line 3 of config/settings.yaml",
        "line 1 of .env",
        "nothing was changed",
    ]
    assert {file: file.read_bytes() for file in root.rglob("*") if file.is_file()} == before


def test_a_link_still_leads_to_its_file(root: Path) -> None:
    """A file mounted by a link is replaced where it lies."""
    (root / "real.yaml").write_text(f"d: {encrypt('five', [OLD])}\n", "utf-8")
    (root / "config/dev.yaml").symlink_to(root / "real.yaml")
    rotate(root, BOTH)
    assert (root / "config/dev.yaml").is_symlink()
    assert secrets_of(root / "real.yaml", NEW) == ["five"]


def test_where_nothing_is_encrypted_nothing_is_written(tmp_path: Path) -> None:
    """No file, no work, no key needed."""
    assert rotate(tmp_path, []) == []
