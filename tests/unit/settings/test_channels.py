"""Channels: those that variables describe, and those a YAML file lists."""

from collections.abc import Callable
from dataclasses import fields

import pytest
from pydantic import SecretStr

from flowledger import plugins
from flowledger.settings import Settings
from flowledger.settings.options import variable_field

Load = Callable[..., Settings]
Problems = Callable[..., tuple[str, ...]]
Variables = dict[str, str]

ROBOT = "https://robots.example.com/send?access_token=planted"
MAIL = {"SMTP_HOST": "mail.example.com", "SMTP_TO": "a@example.com, b@example.com"}
LISTED = f"""
channels:
  ops: {{type: dingtalk, webhook: "{ROBOT}", at: [13800000000, all]}}
  boss: {{type: email, host: mail.example.com, port: "25", to: boss@example.com, security: none}}
"""


def names(settings: Settings, app: str | None = None) -> list[str]:
    """Name the channels that an app's messages go to."""
    return [each.name for each in settings.channels_of(settings.app(app))]


def test_without_a_type_those_whose_address_is_set_are_used(load: Load, app: Variables) -> None:
    """SMTP_HOST or a webhook is enough to be meant; a receiver alone is not."""
    settings = load({**app, **MAIL, "DINGTALK_WEBHOOK": ROBOT, "FEISHU_SECRET": "simulated"})
    assert names(settings) == ["email", "dingtalk"]
    assert settings.channels["email"].options == {
        "host": "mail.example.com",
        "to": ("a@example.com", "b@example.com"),
    }


def test_the_type_chooses_among_those_that_are_set(load: Load, app: Variables) -> None:
    """A half set channel that is not chosen is no problem."""
    chosen = {"NOTIFICATION_TYPE": "dingtalk", "DINGTALK_WEBHOOK": ROBOT, "SMTP_HOST": "mail.example.com"}
    assert names(load({**app, **chosen})) == ["dingtalk"]


def test_a_chosen_channel_must_be_whole(problems: Problems, app: Variables) -> None:
    """What it cannot do without is named by its variable."""
    assert problems({**app, "NOTIFICATION_TYPE": "email,wechat", "SMTP_HOST": "h"}) == (
        "SMTP_TO is not set: the channel 'email' needs it (addresses of the receivers)",
        "WECHAT_WEBHOOK is not set: the channel 'wechat' needs it"
        " (address of the robot, from the settings of the chat group)",
    )


def test_switched_off_nothing_is_asked_for_or_sent(load: Load, app: Variables) -> None:
    """NOTIFICATION_ENABLED=false leaves the old template's other lines alone."""
    settings = load({**app, "NOTIFICATION_ENABLED": "false", "NOTIFICATION_TYPE": "email"}, yaml_file=LISTED)
    assert names(settings) == []


def test_listed_channels_have_names_and_typed_options(load: Load, app: Variables) -> None:
    """Options are those of the type's class; numbers and words are written as people like."""
    settings = load({**app, **MAIL, "NOTIFICATION_TYPE": "email"}, yaml_file=LISTED)
    assert names(settings) == ["email", "ops", "boss"]
    assert settings.channels["ops"].options == {"webhook": SecretStr(ROBOT), "at": ("13800000000", "all")}
    boss = settings.channels["boss"]
    assert (boss.type, boss.options["port"], boss.options["to"]) == ("email", 25, ("boss@example.com",))


def test_an_app_names_its_own_channels(load: Load, app: Variables) -> None:
    """Named ones are used alone, also one of the variables that is not chosen for all."""
    listed = 'apps:\n - {id: a, base_url: "http://h", api_token: t-1, channels: [boss, email]}\n'
    variables = {**app, **MAIL, "DINGTALK_WEBHOOK": ROBOT, "NOTIFICATION_TYPE": "dingtalk"}
    settings = load(variables, yaml_file=LISTED + listed)
    assert names(settings, "a") == ["boss", "email"]
    assert names(settings, "default") == ["dingtalk", "ops", "boss"]


def test_every_problem_of_a_channel_names_its_place(problems: Problems, app: Variables) -> None:
    """Unknown options are guessed, and nothing secret is quoted."""
    found = problems(
        app,
        yaml_file="""
channels:
  a: {type: dingtalk, webhok: "https://h/planted"}
  b: {type: webhook, url: planted}
  c: {type: email, host: h, to: x@example.com, security: none, user: u, password: planted}
  d: {type: carrier-pigeon}
  e: 3
  f: {webhook: "https://h/x"}
apps:
 - {id: b, base_url: "http://h", api_token: t-1, channels: pos}
""",
    )
    place = "in config/settings.yaml"
    assert sorted(found) == [
        f"apps[0].channels {place}: unknown channel 'pos':"
        " one of a, b, c, d, e, f, email, dingtalk, wechat, feishu, webhook",
        f"channels.a.webhok {place}: unknown setting, did you mean webhook?",
        f"channels.a.webhook {place} is not set: the channel 'a' needs it"
        " (address of the robot, from the settings of the chat group)",
        f"channels.b.url {place}: must be an address that begins with http:// or https://",
        f"channels.c.security {place}: would send the password unencrypted: choose starttls or tls, leave out"
        " the user, or allow it by SMTP_INSECURE_LOGIN=true (insecure_login: true in a YAML file)",
        f"channels.d.type {place}: unknown type of channel 'carrier-pigeon':"
        " one of email, dingtalk, wechat, feishu, webhook",
        f"channels.e {place}: must be a mapping with type",
        f"channels.f.type {place} is not set: the channel 'f' needs it"
        " (email, dingtalk, wechat, feishu or webhook)",
    ]


def test_an_unencrypted_login_may_be_allowed(load: Load, problems: Problems, app: Variables) -> None:
    """A password leaves without encryption only where somebody says so."""
    mail = {**app, **MAIL, "SMTP_SECURITY": "none", "SMTP_USER": "u"}
    (line,) = problems(mail)
    assert line.startswith("SMTP_SECURITY in environment: would send the password unencrypted")
    assert names(load({**mail, "SMTP_INSECURE_LOGIN": "true"})) == ["email"]


def test_port_465_is_encrypted_from_the_start(load: Load, problems: Problems, app: Variables) -> None:
    """STARTTLS would wait there for a greeting that never comes."""
    mail = {**app, **MAIL, "SMTP_PORT": "465"}
    (line,) = problems(mail)
    assert line.startswith("SMTP_SECURITY")
    assert "must be tls with port 465" in line
    assert names(load({**mail, "SMTP_SECURITY": "tls"})) == ["email"]


def test_one_name_is_one_channel(problems: Problems, app: Variables) -> None:
    """A listed channel does not hide the one that variables describe."""
    listed = f'channels: {{dingtalk: {{type: dingtalk, webhook: "{ROBOT}"}}}}'
    assert problems({**app, "DINGTALK_SECRET": "simulated"}, yaml_file=listed) == (
        "channels.dingtalk in config/settings.yaml: DINGTALK_SECRET in environment describes a channel of"
        " this name too, so give this one another",
    )


def test_what_is_wrong_in_a_variable_is_one_line(problems: Problems, app: Variables) -> None:
    """The channel of a wrong variable is not complained of as well."""
    assert problems({**app, **MAIL, "SMTP_PORT": "70000"}) == (
        "SMTP_PORT in environment: should be less than or equal to 65535",
    )


@pytest.mark.parametrize("channel", plugins.CHANNELS)
def test_variables_and_classes_have_the_same_defaults(channel: str) -> None:
    """What is not said means the same, whether the settings or the class fill it in."""
    options = {each.name: each.default for each in fields(plugins.load("channel", channel))}
    own = {
        field.removeprefix(start): info.default
        for start in [variable_field(channel, "")]
        for field, info in Settings.model_fields.items()
        if field.startswith(start)
    }
    assert own.keys() <= options.keys()
    assert {name: value for name, value in own.items() if value is not None} == {
        name: options[name] for name, value in own.items() if value is not None
    }
