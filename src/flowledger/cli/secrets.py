"""``flowledger secrets``: make a key, encrypt a secret for a settings file, encrypt all again."""

import sys
from pathlib import Path

import click

from flowledger import bootstrap
from flowledger.bootstrap import auditing
from flowledger.errors import UsageError
from flowledger.settings.config_files import write_secret
from flowledger.settings.encryption import encrypt, new_key, rotate


@click.group()
def secrets() -> None:
    """Make keys, encrypt secrets for settings files, change the key."""


@secrets.command("new-key", short_help="Make a key for encrypted settings.")
@click.option("--file", metavar="FILE", type=click.Path(path_type=Path), help="Write it into a new file.")
def make_key(file: Path | None) -> int:
    """Make a key for encrypted settings, and print it or write it into a file that only you can read."""
    if file is None:
        click.echo(new_key())
        return 0
    write_secret(file, f"{new_key()}\n")
    click.echo(f"written: {file}; name it in FLOWLEDGER_SECRET_KEY_FILE and keep a copy in a safe place")
    return 0


@secrets.command("encrypt", short_help="Encrypt one secret for a settings file.")
def encrypt_one() -> int:
    """Read a secret from standard input, or ask for it, and print what stands for it in a settings file."""
    keys = bootstrap.secret_keys()
    text = _prompted() if sys.stdin.isatty() else _piped()
    if not text:
        raise UsageError("there is nothing to encrypt: the secret is empty")
    click.echo(encrypt(text, keys))
    return 0


def _prompted() -> str:
    text: str = click.prompt("secret", hide_input=True, confirmation_prompt=True, err=True)
    return text


def _piped() -> str:
    # Only the end of the line goes: spaces may belong to a secret.
    return sys.stdin.read().removesuffix("\n").removesuffix("\r")


@secrets.command("rotate", short_help="Encrypt all secrets again with the newest key.")
def rotate_all() -> int:
    """Encrypt every secret in config/*.yaml and .env again with the newest key; all of them or none."""
    rotated = rotate(bootstrap.settings_root(), bootstrap.secret_keys())
    for each in rotated:
        click.echo(f"{each.file}: {each.secrets} secret(s) encrypted again")
    if rotated:
        auditing.record_act(
            "CONFIG", "secrets", {"rotated": {str(each.file): each.secrets for each in rotated}}
        )
    else:
        click.echo("nothing is encrypted: no file has a value that begins with enc:")
    return 0
