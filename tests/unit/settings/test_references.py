"""References to secrets: file:, enc:, prefect:."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from flowledger.errors import UnreadableSecretError
from flowledger.settings import ConfigManager, Settings
from flowledger.settings.encryption import encrypt, new_key, split_keys
from flowledger.settings.problems import readable_secret_files
from flowledger.settings.references import Keyring, put_in, read, references_in

Load = Callable[..., Settings]
Problems = Callable[..., tuple[str, ...]]
Variables = dict[str, str]

KEY = SecretStr(new_key())
OTHER = SecretStr(new_key())


def test_a_file_gives_its_text_without_the_last_line_break(
    load: Load, app: Variables, tmp_path: Path
) -> None:
    """A relative path begins at the root; line breaks inside and spaces are part of a password."""
    (tmp_path / "token").write_bytes(b"app-from-file\r\n")
    (tmp_path / "password").write_bytes(b" two\nlines \n")
    console = {"DIFY_CONSOLE_EMAIL": "a@example.com", "DIFY_CONSOLE_PASSWORD": f"file:{tmp_path}/password"}
    found = load({**app, **console, "DIFY_API_TOKEN": "file:token"}).app()
    assert found.api_token.get_secret_value() == "app-from-file"
    assert found.console_password == SecretStr(" two\nlines ")


def test_secrets_are_found_in_apps_and_channels(load: Load, tmp_path: Path) -> None:
    """A reference may stand wherever a secret may."""
    (tmp_path / "t").write_text("app-1\n", "utf-8")
    listed = f"""
apps:
  - {{id: a, base_url: "http://h", api_token: "file:t"}}
channels:
  ops: {{type: dingtalk, webhook: "https://h/x", secret: "{encrypt("signing", [KEY])}"}}
"""
    settings = load({"FLOWLEDGER_SECRET_KEY": KEY.get_secret_value()}, yaml_file=listed)
    assert settings.app().api_token == SecretStr("app-1")
    assert settings.channels["ops"].options["secret"] == SecretStr("signing")


@pytest.mark.parametrize(
    "written", ["A=plain; B=file:t,C={enc}", '{{"A": "plain", "B": "file:t", "C": "{enc}"}}']
)
def test_secrets_of_workflows_are_pairs_and_may_be_references(
    load: Load, tmp_path: Path, written: str
) -> None:
    """A variable holds them as a list or as JSON, each plain or a reference."""
    (tmp_path / "t").write_text("from-file\n", "utf-8")
    variables = {"WORKFLOW_SECRETS": written.format(enc=encrypt("hello", [KEY]))}
    settings = load({**variables, "FLOWLEDGER_SECRET_KEY": KEY.get_secret_value()}, need_app=False)
    assert {name: each.get_secret_value() for name, each in settings.workflow_secrets.items()} == {
        "A": "plain",
        "B": "from-file",
        "C": "hello",
    }
    assert {"plain", "from-file", "hello"} <= {each.get_secret_value() for each in settings.secrets()}
    assert "plain" not in repr(settings)


def test_a_secret_of_workflows_that_cannot_be_read_is_named(problems: Problems) -> None:
    """The line names the secret, and a name that expressions cannot have is refused."""
    listed = "workflow_secrets: {CRM: 'file:nowhere', PET: '', DOG: '${DOG}'}"
    lines = problems(yaml_file=listed, need_app=False)
    assert lines[0] == "DOG is not set: config/settings.yaml refers to it"
    assert lines[1].startswith("WORKFLOW_SECRETS.CRM in config/settings.yaml: there is no file ")
    assert len(lines) == 2
    (line,) = problems({"WORKFLOW_SECRETS": "a-b=x"}, need_app=False)
    assert line.startswith("WORKFLOW_SECRETS.a-b in environment: has a name that is not made of letters")


def test_a_ledger_and_a_key_may_lie_in_files(load: Load, tmp_path: Path) -> None:
    """Whole addresses with passwords are secrets too."""
    (tmp_path / "url").write_text("postgresql://u:planted@h/x\n", "utf-8")
    (tmp_path / "keys").write_text(f"# newest first\n{OTHER.get_secret_value()}\n{KEY.get_secret_value()}\n")
    settings = load(
        {"LEDGER_URL": "file:url", "FLOWLEDGER_SECRET_KEY_FILE": "keys"},
        yaml_file=f"smtp_password: {encrypt('hello', [KEY])}",
        need_app=False,
    )
    assert settings.ledger_url.get_secret_value() == "postgresql://u:planted@h/x"
    assert settings.smtp_password == SecretStr("hello")


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("file:nowhere", "there is no file {root}/nowhere: create it or mend the path"),
        ("file:.", "{root} cannot be read (Is a directory): let this user read it, or mend the path"),
        ("file:empty", "the secret that file: refers to is empty"),
        ("file:long", "{root}/long is too long to be a secret: mend the path"),
        ("file:bytes", "{root}/bytes is not UTF-8 text"),
        ("file:", "names nothing after the colon"),
        (
            "enc:nonsense",
            "is encrypted and there is no key: set FLOWLEDGER_SECRET_KEY or FLOWLEDGER_SECRET_KEY_FILE"
            " (flowledger secrets new-key makes one)",
        ),
    ],
)
def test_a_reference_to_nothing_says_what_to_do(
    problems: Problems, app: Variables, tmp_path: Path, reference: str, reason: str
) -> None:
    """The line names the variable, its place and the remedy, and it is the only one about that value."""
    (tmp_path / "empty").touch()
    (tmp_path / "long").write_bytes(b"x" * 70_000)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\xfa")
    assert problems({**app, "DIFY_API_TOKEN": reference}) == (
        f"DIFY_API_TOKEN in environment: {reason.format(root=tmp_path)}",
    )


def test_a_wrong_key_opens_nothing(problems: Problems, app: Variables) -> None:
    """Another key, or a text that is no key, is said without showing either."""
    token = {**app, "DIFY_API_TOKEN": encrypt("planted", [KEY])}
    (line,) = problems({**token, "FLOWLEDGER_SECRET_KEY": OTHER.get_secret_value()})
    assert line.startswith("DIFY_API_TOKEN in environment: no key of FLOWLEDGER_SECRET_KEY or")
    (line,) = problems({**token, "FLOWLEDGER_SECRET_KEY": "planted"})
    assert "key 1 of FLOWLEDGER_SECRET_KEY or FLOWLEDGER_SECRET_KEY_FILE is no key" in line
    assert "planted" not in line
    assert any("there is no file" in each for each in problems({**token, "FLOWLEDGER_SECRET_KEY_FILE": "no"}))


def test_a_key_beside_what_it_encrypts_is_a_problem(problems: Problems, app: Variables) -> None:
    """A key in a YAML file would protect nothing."""
    (line,) = problems(app, yaml_file=f"flowledger_secret_key: {KEY.get_secret_value()}")
    assert line.startswith("FLOWLEDGER_SECRET_KEY in config/settings.yaml: a key beside what it encrypts")
    assert KEY.get_secret_value() not in line


def test_only_secrets_are_referred_to(problems: Problems, app: Variables, tmp_path: Path) -> None:
    """An address or a number shown in logs does not come from a file of secrets."""
    (tmp_path / "x").write_text("planted", "utf-8")
    assert problems({**app, "DIFY_APP_ID": "file:x"}) == (
        "DIFY_APP_ID in environment: is no secret, so write the value itself in the place of the reference",
    )


def test_a_file_that_others_can_read_is_named(tmp_path: Path, app: Variables) -> None:
    """Open files are told of, each once; what the owner alone reads is not."""
    for name, mode in {"open": 0o644, "closed": 0o600}.items():
        (tmp_path / name).write_text("app-x", "utf-8")
        (tmp_path / name).chmod(mode)
    console = {"DIFY_CONSOLE_EMAIL": "a@example.com", "DIFY_CONSOLE_PASSWORD": "file:closed"}
    manager = ConfigManager(tmp_path, {**app, **console, "DIFY_API_TOKEN": "file:open"})
    assert list(readable_secret_files(manager.inspect().reading, tmp_path)) == [tmp_path / "open"]


@given(st.text(min_size=1).filter(lambda text: text.isprintable()))
def test_what_is_encrypted_is_read_again_with_any_key_it_was_given(text: str) -> None:
    """The newest key encrypts, every key decrypts, and the text is not to be seen."""
    token = encrypt(text, [KEY])
    assert read(token, Keyring(keys=(OTHER, KEY))).get_secret_value() == text
    with pytest.raises(UnreadableSecretError):
        read(token, Keyring(keys=(OTHER,)))


def test_keys_are_separated_by_lines_or_commas() -> None:
    """A list in a variable and a file with comments mean the same."""
    expected = (SecretStr("a"), SecretStr("b"))
    assert split_keys("a, b") == split_keys("# mine\na\n\nb\n") == expected


def test_references_are_found_and_replaced_at_any_depth() -> None:
    """Ways lead through mappings and lists, and the rest of the value stays."""
    value = {"A": [{"b": "file:x", "c": 1}], "D": {"e": "enc:y"}, "F": "profile:z"}
    ways = dict(references_in(value))
    assert ways == {("A", 0, "b"): "file:x", ("D", "e"): "enc:y"}
    replaced = put_in(value, dict.fromkeys(ways))
    assert replaced == {"A": [{"b": None, "c": 1}], "D": {"e": None}, "F": "profile:z"}
