"""The names of all variables."""

from collections.abc import Mapping

from flowledger.settings.model import Settings

APP_VARIABLES: Mapping[str, str] = {
    "DIFY_BASE_URL": "base_url",
    "DIFY_API_TOKEN": "api_token",
    "DIFY_APP_ID": "id",
    "DIFY_APP_NAME": "name",
    "DIFY_CONSOLE_EMAIL": "console_email",
    "DIFY_CONSOLE_PASSWORD": "console_password",
    "DIFY_CONSOLE_TOKEN": "console_token",
    "DIFY_ADMIN_API_KEY": "admin_api_key",
    "DIFY_WORKSPACE_ID": "workspace_id",
}
"""Variable → field of ``AppSettings``: together they define one app."""

PROGRAM_VARIABLES: Mapping[str, str] = {
    name.upper(): name for name in Settings.model_fields if name not in ("apps", "channels")
}
"""Variable → field of ``Settings``."""

VARIABLES = frozenset(PROGRAM_VARIABLES)

HINTS: Mapping[str, str] = {
    "base_url": "address of your Dify, such as https://dify.example.com",
    "api_token": "API key of the app, Dify → app → API access",
    "id": "id of the app, the part after /app/ in its address in Dify",
    "console_email": "the console needs e-mail and password",
    "console_password": "the console needs e-mail and password",
    "workspace_id": "the admin API key needs the id of the workspace",
}
"""Field of ``AppSettings`` → what it is and where to find it."""

OPTION_HINTS: Mapping[str, str] = {
    "host": "mail server, such as smtp.example.com",
    "to": "addresses of the receivers",
    "webhook": "address of the robot, from the settings of the chat group",
    "url": "address that takes the messages",
    "type": "email, dingtalk, wechat, feishu or webhook",
}
"""Option of a channel → what it is."""
