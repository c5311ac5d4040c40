"""Secrets that nobody could mistake, one in every setting that can hold one, and the search for them."""

import html
import json
import sqlite3
import zlib
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from flowledger_simulator import credentials

NOBODY = "http://127.0.0.1:9"
"""Where nobody listens."""
API_TOKEN = "app-planted-token-of-the-app"
CONSOLE_PASSWORD = 'planted wrong pässword/of+the "console"'
LEDGER_PASSWORD = "planted/ledger+pass"
FERNET_KEY = "cGxhbnRlZC1rZXktdGhhdC1vcGVucy1ub3RoaW5nISE="
"""Its bytes are "planted-key-that-opens-nothing!!"."""

SECRETS: Mapping[str, str] = {
    "FLOWLEDGER_SECRET_KEY": FERNET_KEY,
    "DIFY_API_TOKEN": API_TOKEN,
    "DIFY_CONSOLE_PASSWORD": CONSOLE_PASSWORD,
    "DIFY_CONSOLE_TOKEN": "planted-console-token",
    "DIFY_ADMIN_API_KEY": "planted-admin-key",
    "COZE_API_TOKEN": "pat_planted-coze-token",
    "LEDGER_URL": LEDGER_PASSWORD,
    "S3_ACCESS_KEY_ID": "planted-s3-key-id",
    "S3_SECRET_ACCESS_KEY": "planted/s3+secret",
    "OSS_ACCESS_KEY_ID": "planted-oss-key-id",
    "OSS_ACCESS_KEY_SECRET": "planted-oss-secret",
    "SMTP_PASSWORD": "planted mail päss",
    "DINGTALK_WEBHOOK": "planted-dingtalk-token",
    "DINGTALK_SECRET": "planted-dingtalk-secret",
    "WECHAT_WEBHOOK": "planted-wechat-key",
    "FEISHU_WEBHOOK": "planted-feishu-hook",
    "FEISHU_SECRET": "planted-feishu-secret",
    "WEBHOOK_URL": "planted-webhook-path",
    "WEBHOOK_SECRET": "planted-webhook-secret",
    "WORKFLOW_SECRETS": "planted-workflow-secret",
}
"""Variable → the secret in it; of an address only the part that opens something."""

SEARCHED = (*SECRETS.values(), credentials.PASSWORD, credentials.ADMIN_KEY)


def variables(bots: str = NOBODY, buckets: str = NOBODY) -> dict[str, str]:
    """Give all settings but those of apps and ledger: channels at one address, buckets at another."""
    return {
        **{name: SECRETS[name] for name in SECRETS if name.endswith(("_SECRET", "_KEY", "_ID", "_PASSWORD"))},
        "COZE_API_TOKEN": SECRETS["COZE_API_TOKEN"],
        "WORKFLOW_SECRETS": f"CRM={SECRETS['WORKFLOW_SECRETS']}",
        "S3_BUCKET_NAME": "reports",
        "S3_ENDPOINT": buckets,
        "OSS_BUCKET_NAME": "reports",
        "OSS_ENDPOINT": buckets,
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": "9",
        "SMTP_USER": "ops@example.com",
        "SMTP_TO": "ops@example.com",
        "DINGTALK_WEBHOOK": f"{bots}/robot/send?access_token={SECRETS['DINGTALK_WEBHOOK']}",
        "WECHAT_WEBHOOK": f"{bots}/cgi-bin/webhook/send?key={SECRETS['WECHAT_WEBHOOK']}",
        "FEISHU_WEBHOOK": f"{bots}/open-apis/bot/v2/hook/{SECRETS['FEISHU_WEBHOOK']}",
        "WEBHOOK_URL": f"{bots}/in/{SECRETS['WEBHOOK_URL']}",
        "LOG_LEVEL": "TRACE",
        "TIMEZONE": "UTC",
    } | dict.fromkeys(("DIFY_API_TOKEN", "DIFY_CONSOLE_PASSWORD", "DIFY_ADMIN_API_KEY"), "")


def app_variables(base_url: str, **more: str) -> dict[str, str]:
    """Give the settings that reach a simulated server's workflow app by its planted key."""
    return {
        "DIFY_BASE_URL": base_url,
        "DIFY_API_TOKEN": API_TOKEN,
        "DIFY_APP_ID": credentials.WORKFLOW_APP_ID,
        "DIFY_APP_NAME": "support",
        "DIFY_CONSOLE_EMAIL": credentials.EMAIL,
        "DIFY_CONSOLE_PASSWORD": credentials.PASSWORD,
        **more,
    }


def spellings(secret: str) -> set[bytes]:
    """Give the ways a secret could stand in a text, inside base64 too."""
    texts = {
        secret,
        quote(secret),
        quote(secret, safe=""),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        html.escape(secret),
    }
    octets = secret.encode()
    # Three bytes are four characters: cut off what the neighbours share.
    within = {b64encode(b"\0" * before + octets)[-(-before * 8 // 6) :][: len(octets)] for before in range(3)}
    return {text.encode() for text in texts} | within | {secret.encode("utf-16-le")}


def leaked_secrets(texts: Mapping[str, bytes]) -> list[tuple[str, str]]:
    """Give each place of a secret, and the secret."""
    forms = {form: secret for secret in SEARCHED for form in spellings(secret)}
    return [
        (place, secret) for place, text in texts.items() for form, secret in forms.items() if form in text
    ]


def files_below(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder; of a ledger also what is compressed in it."""
    texts: dict[str, bytes] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            texts[str(path)] = path.read_bytes()
            if path.suffix == ".db":
                texts[f"{path} unpacked"] = b"\n".join(_cells(path))
    return texts


def _cells(path: Path) -> Iterator[bytes]:
    with closing(sqlite3.connect(path)) as base:
        for (table,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in base.execute(f'SELECT * FROM "{table}"'):
                for cell in row:
                    yield _unpacked(cell) if isinstance(cell, bytes) else str(cell).encode()


def _unpacked(cell: bytes) -> bytes:
    try:
        return zlib.decompress(cell)
    except zlib.error:
        return cell
