"""What is wrong with settings, one line each, naming the variable and its place and never a secret."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from flowledger.errors import UnreadableSecretError
from flowledger.plugins import CHANNELS as CHANNEL_TYPES
from flowledger.settings import sources
from flowledger.settings.addresses import RECEIVERS, bad_words, check_endpoint, names_bucket
from flowledger.settings.apps import AppSettings
from flowledger.settings.model import APP_VARIABLES, HINTS, OPTION_HINTS, Settings
from flowledger.settings.options import options_model, variable_field
from flowledger.settings.references import Keyring, Loc, open_to_others, scheme_of, secret_file
from flowledger.settings.validators import similar, split_words, stray


def conflicts_in(reading: sources.Reading) -> Iterator[str]:
    """Yield a line for each problem that no single value has: values that contradict or lack each other."""
    for loc, line in reading.unreadable.items():
        yield f"{reading.label(loc)}: {line}"
    place = reading.places.get(sources.SELECTOR)
    if place not in (None, "arguments", "environment", sources.ENV_FILE):
        yield f"{reading.label((sources.SELECTOR,))}: must be set in {sources.ENV_FILE} or the environment"
    if reading.places.get(sources.KEY, "").endswith(".yaml"):
        yield (
            f"{reading.label((sources.KEY,))}: a key beside what it encrypts protects nothing: set it in the"
            f" environment or {sources.ENV_FILE}, or name a key file in {sources.KEY}_FILE"
        )
    yield from _strays(reading)
    for index, app in reading.listed_apps():
        if index or not _stray_fields(reading):
            yield from _incomplete(app, (sources.APPS, index), reading)
        if not reading.is_partial:
            yield from _unknown_channels(app, (sources.APPS, index), reading)
    yield from _clashes(reading)
    yield from _endpoints_with_bucket(reading)
    yield from _doubles(reading)


def is_covered(loc: Loc, reading: sources.Reading) -> bool:
    """Return whether another line describes what is wrong with the app of the variables."""
    is_needed = loc[:2] == (sources.APPS, 0) and len(loc) > 2 and loc[2] in sources.NEEDED
    return is_needed and bool(_stray_fields(reading)) and loc[2] not in reading.values[sources.APPS][0]


def _stray_fields(reading: sources.Reading) -> list[str]:
    """Return the variables of an incomplete app beside listed ones."""
    listed = reading.values.get(sources.APPS)
    if not reading.has_own or not isinstance(listed, list) or len(listed) < 2:
        return []
    own = listed[0]
    return [] if all(field in own for field in sources.NEEDED) else [sources.NAMES[field] for field in own]


def _strays(reading: sources.Reading) -> Iterator[str]:
    names = _stray_fields(reading)
    if names:
        own = reading.values[sources.APPS][0]
        missing = ", ".join(sources.NAMES[field] for field in sources.NEEDED if field not in own)
        labels = ", ".join(reading.label((name,)) for name in names)
        yield (
            f"{labels}: DIFY_* variables define a first app of their own, beside those that"
            f" {reading.places[sources.APPS]} lists, and this one has no {missing}: set them, or"
            f" remove {', '.join(names)}; for a listed app, write"
            f" {APP_VARIABLES[names[0]]}: ${{{names[0]}}} there"
        )


def _incomplete(app: Mapping[str, Any], place: Loc, reading: sources.Reading) -> Iterator[str]:
    """Yield a line for each half of a console access, and for more than one access."""
    for present, needed in (
        ("console_email", "console_password"),
        ("console_password", "console_email"),
        ("admin_api_key", "workspace_id"),
    ):
        is_reported = reading.is_partial or (*place, needed) in reading.unreadable
        if app.get(present) and not app.get(needed) and not is_reported:
            yield f"{reading.label((*place, needed))} is not set: {HINTS[needed]}"
    accesses = [each for each in ("console_password", "console_token", "admin_api_key") if app.get(each)]
    if len(accesses) > 1:
        first, other = (reading.label((*place, field)) for field in accesses[:2])
        yield f"{other}: the console needs one way in; keep this or {first}"


def _clashes(reading: sources.Reading) -> Iterator[str]:
    """Yield a line for each id or name that two apps share."""
    places: dict[str, list[str]] = {}
    for index, app in reading.listed_apps():
        words = {str(app[field]).strip(): field for field in ("name", "id") if field in app}
        for word, field in words.items():
            places.setdefault(word, []).append(reading.label((sources.APPS, index, field)))
    for word, shared in sorted(places.items()):
        if len(shared) > 1:
            yield f"{', '.join(shared)}: {word!r} is used for each, but ids and names of apps must differ"


def _shared_keys(reading: sources.Reading) -> Iterator[str]:
    """Yield a line for each key that two apps of one server have: each run would be reported twice.

    Two servers may know the same key, where one was copied from the other.
    """
    labels: dict[tuple[str, str], list[str]] = {}
    for index, app in reading.listed_apps():
        if key := _plain_text(app.get("api_token")):
            server = str(_plain_text(app.get("base_url")) or "").rstrip("/")
            labels.setdefault((server, key), []).append(reading.label((sources.APPS, index, "api_token")))
    for shared in labels.values():
        if len(shared) > 1:
            yield (
                f"{', '.join(shared)}: the same key stands for each of these apps, but a key of Dify belongs"
                " to one app: its runs would be reported under every name; give each app its own key"
            )


def _plain_text(value: object) -> str:
    return (value.get_secret_value() if isinstance(value, SecretStr) else str(value or "")).strip()


def _endpoints_with_bucket(reading: sources.Reading) -> Iterator[str]:
    """Yield a line for each endpoint that names its bucket too: the bucket would be looked for twice."""
    for kind in ("S3", "OSS"):
        endpoint, bucket = (
            _plain_text(reading.values.get(f"{kind}_{each}")) for each in ("ENDPOINT", "BUCKET_NAME")
        )
        if (
            endpoint
            and bucket
            and not list(bad_words([endpoint], check_endpoint))
            and names_bucket(endpoint, bucket)
        ):
            yield (
                f"{reading.label((f'{kind}_ENDPOINT',))}: names the bucket {bucket!r} too, which"
                f" {kind}_BUCKET_NAME does: leave it out here, such as"
                f" {'oss-cn-hangzhou.aliyuncs.com' if kind == 'OSS' else 'https://s3.example.com'}"
            )


def _half_keys(reading: sources.Reading) -> Iterator[str]:
    """Yield a line for an S3 key without its other half; the surroundings' would be used in its place."""
    names = ("S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY")
    is_set = [name in reading.values for name in names]
    if any(is_set) and not all(is_set) and not reading.is_partial:
        missing, present = (names[is_set.index(each)] for each in (False, True))
        yield (
            f"{missing} is not set: {reading.label((present,))} needs it; without both, those of this machine"
            " are used"
        )


def of_place(reading: sources.Reading, root: Path, *, need_app: bool) -> Iterator[str]:
    """Yield where settings were looked for, if an app is needed and nothing of one is set anywhere."""
    listed = reading.values.get(sources.APPS)
    if need_app and reading.has_own and listed == [{}] and not reading.is_partial:
        yield f"settings were looked for in {looked_in(root)}"


def looked_in(root: Path) -> str:
    """Return the folder of settings and which of its files are there, as a part of a sentence."""
    states = (f"{name} {_presence(root / name)}" for name in (sources.ENV_FILE, sources.YAML_FILE))
    return f"{root.absolute()} ({', '.join(states)}): start Flowledger in the folder that has them"


def _presence(path: Path) -> str:
    try:
        return "is there" if path.is_file() else "is not there"
    except OSError:  # another user's folder: which files it has is not ours to know
        return "cannot be read"


def doubts_about(settings: Settings, reading: sources.Reading) -> Iterator[str]:
    """Yield a line for each thing that must be corrected, though a night's runs go on in spite of it."""
    yield from _shared_keys(reading)
    yield from _half_keys(reading)
    yield from _unreachable_people(settings, reading)
    for app in settings.apps:
        if app.switch_workspace and not app.workspace_id:
            yield (
                f"app {app.name}: its console account cannot be switched to a workspace without"
                " DIFY_WORKSPACE_ID (workspace_id where it stands under apps:)"
            )


def _unreachable_people(settings: Settings, reading: sources.Reading) -> Iterator[str]:
    """Yield a line for each person that a channel lists and cannot reach; the others have their message."""
    for name, channel in settings.channels.items():
        for option in ("to", "at"):
            if check := RECEIVERS.get((channel.type, option)):
                for text in bad_words(channel.options.get(option, ()), check):
                    yield f"{reading.label((sources.CHANNELS, name, option))}: {text}"


def _unknown_channels(app: Mapping[str, Any], place: Loc, reading: sources.Reading) -> Iterator[str]:
    named = split_words(app.get("channels"))
    listed = reading.values.get(sources.CHANNELS)
    names = [*(listed if isinstance(listed, Mapping) else ()), *CHANNEL_TYPES]
    for name in named if isinstance(named, list) else ():
        if name not in names:
            guess = similar(str(name), names)
            yield (
                f"{reading.label((*place, 'channels'))}: unknown channel {name!r}"
                + (f", did you mean {guess}?" if guess else f": one of {', '.join(names)}")
            )


def _doubles(reading: sources.Reading) -> Iterator[str]:
    """Yield a line for each listed channel with the name of one that variables describe."""
    for name in CHANNEL_TYPES:
        variables = [each for each in reading.values if each.startswith(variable_field(name, "").upper())]
        if variables and reading.lists_channel(name):
            yield (
                f"{reading.label((sources.CHANNELS, name))}: {reading.label((variables[0],))} describes"
                " a channel of this name too, so give this one another"
            )


NOT_AN_ERROR_ITSELF = "default_factory_not_called"
"""Pydantic's type of error for a default that needs another field, which has a line of its own."""

PLAIN = {
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "mapping_type": "must be a mapping",
}
"""Pydantic's type of error → our text, where its sentence speaks of Python."""

MAPPINGS = {
    sources.APPS: "must be a mapping with id, base_url, api_token",
    sources.CHANNELS: "must be a mapping with type",
}


def describe(error: ValidationError, reading: sources.Reading) -> Iterator[str]:
    """Yield a line for each validation error that has none yet."""
    for detail in error.errors(include_url=False, include_input=False):
        loc, kind = detail["loc"], detail["type"]
        if any(loc[: len(each)] == each for each in reading.unreadable) or kind == NOT_AN_ERROR_ITSELF:
            continue  # it has a line of its own
        if kind == "missing" and reading.is_partial:
            continue  # it may be in the file that cannot be read
        if not is_covered(loc, reading):
            yield _line(loc, kind, detail["msg"], reading)


def of_storage(settings: Settings, reading: sources.Reading) -> Iterator[str]:
    """Yield a line for each option that the chosen storage lacks or cannot use."""
    try:
        _ = settings.storage_options
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            loc: Loc = (sources.STORAGE, *detail["loc"])
            is_missing = detail["type"] == "missing"
            if is_missing and (reading.is_partial or reading.is_set(loc)):
                continue  # it is wrong, or may be in the file that cannot be read: there is a line for that
            hint = f" is not set: the storage {settings.storage_type!r} needs it"
            yield reading.label(loc) + (hint if is_missing else f": {_plain(detail['msg'])}")


def _line(loc: Loc, kind: str, text: str, reading: sources.Reading) -> str:
    label = reading.label(loc)
    if kind == "missing":
        return f"{label} is not set: {_hint(loc)}"
    if kind == "extra_forbidden":
        return stray(label, similar(str(loc[-1]), _existing_names(loc, reading)))
    if kind == "model_type":
        return f"{label}: {MAPPINGS[str(loc[0])]}"
    if loc in reading.references and kind.endswith("_type"):
        return f"{label}: is no secret, so write the value itself in the place of the reference"
    return f"{label}: {PLAIN.get(kind) or _plain(text)}"


def _existing_names(loc: Loc, reading: sources.Reading) -> Collection[str]:
    if loc[0] == sources.APPS:
        return AppSettings.model_fields
    if loc[0] == sources.CHANNELS and isinstance(channel := reading.channel(loc[1]), Mapping):
        return options_model("channel", str(channel["type"]).lower()).model_fields
    return ()


def _hint(loc: Loc) -> str:
    if loc[0] == sources.CHANNELS:
        hint = OPTION_HINTS.get(str(loc[-1]))
        return f"the channel {loc[1]!r} needs it" + (f" ({hint})" if hint else "")
    return HINTS[str(loc[-1])]


def _plain(text: str) -> str:
    """Return pydantic's sentence without its subject and without the name of a Python class."""
    for subject in ("Value error, ", "Value ", "Input "):
        if text.startswith(subject):
            text = text.removeprefix(subject)
            break
    return text.partition(" for <class ")[0]


def readable_secret_files(reading: sources.Reading, root: Path) -> Iterator[Path]:
    """Yield each file that the settings read a secret from and that other users can read, once."""
    texts = [text.strip() for text in reading.references.values() if scheme_of(text) == "file"]
    if key_file := reading.values.get(sources.KEY_FILE):
        texts.append(str(key_file))
    keyring = Keyring(root, variables=reading.variables)
    for text in dict.fromkeys(texts):
        try:
            file = secret_file(text.removeprefix("file:"), keyring)
        except UnreadableSecretError:
            continue  # it has a line of its own
        if open_to_others(file):
            yield file
