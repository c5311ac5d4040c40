"""Files that others may have written, settings, templates, backups, are read and never run, and they end."""

import json
import tracemalloc
import zipfile
from hashlib import sha256
from itertools import product
from pathlib import Path
from time import process_time

import pytest

from flowledger.domain.messages import Occasion
from flowledger.errors import FlowledgerError, SettingsError, StorageError, UsageError
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.notify import templates
from flowledger.notify.notices import sample_notice, sample_notices
from flowledger.notify.templates import Templates, check_templates
from flowledger.plugins import CHANNELS
from flowledger.services.history.backup import MANIFEST, PARTS, check_backup, restore
from flowledger.settings import ConfigManager
from flowledger.settings.schedules import FILE, load_schedules
from flowledger.settings.sources import YAML_FILE

FAILURE = sample_notice(Occasion.FAILURE, "en")
SOON_S = 5.0
"""Seconds of the processor that a refusal may take."""


def growing(levels: int, line: str) -> str:
    """Give anchors of which each stands for ten of the one before."""
    lines = ["a0: &a0 {k0: 1, l0: 2}"]
    for level in range(1, levels):
        ten = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(line.replace("#", str(level)).replace("TEN", ten))
    return "\n".join(lines)


HOSTILE_YAML = {
    "ten times ten times ten": (growing(12, "a#: &a# [TEN]"), "values"),
    "merged again and again": (growing(12, "a#: &a# {<<: [TEN], k#: 1}"), "values"),
    "within itself": ("apps: &a [*a]", "within itself"),
    "deep": ("apps: " + "[" * 200, "not valid"),
    "an object": ("apps: !!python/object/apply:os.system ['touch made-by-yaml']", "not valid"),
    "a name": ("apps: !!python/name:os.system", "not valid"),
    "a day that is none": ("timezone: 2026-02-31", "date"),
    "two documents": ("timezone: UTC\n---\ntimezone: UTC", "not valid"),
}


@pytest.mark.parametrize("kind", HOSTILE_YAML)
def test_hostile_yaml_is_one_line(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In settings and in schedules alike: nothing runs, memory stays small, and the file is named."""
    text, why = HOSTILE_YAML[kind]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    for file in (YAML_FILE, FILE):
        (tmp_path / file).write_text(text, "utf-8")
    began = process_time()
    tracemalloc.start()
    with pytest.raises(SettingsError) as in_settings:
        ConfigManager(tmp_path, {}).load(need_app=False)
    with pytest.raises(SettingsError) as in_schedules:
        load_schedules(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    tracemalloc.stop()
    assert process_time() - began < SOON_S
    assert any(YAML_FILE in line and why in line for line in in_settings.value.problems)
    assert any(FILE in line and why in line for line in in_schedules.value.problems)
    assert not (tmp_path / "made-by-yaml").exists()


def test_an_alias_that_saves_words_stays(tmp_path: Path) -> None:
    """Several apps may share what they have in common."""
    (tmp_path / "config").mkdir()
    (tmp_path / YAML_FILE).write_text(
        "apps:\n  - &first {id: a, base_url: http://h, api_token: app-made-up, language: en}\n"
        "  - {<<: *first, id: b}\n",
        "utf-8",
    )
    settings = ConfigManager(tmp_path, {}).load()
    assert [(app.id, app.language) for app in settings.apps] == [("a", "en"), ("b", "en")]


TURNS = "{% for a in range(9999) %}"
ESCAPES = {
    "class": "{{ ''.__class__ }}",
    "subclasses": "{{ app.__class__.__mro__[1].__subclasses__() }}",
    "globals of a function": "{{ range.__globals__ }}",
    "globals of a filter's": "{{ cycler.__init__.__globals__.os.popen('touch made-by-template') }}",
    "attribute by filter": "{{ ''|attr('__class__') }}",
    "attribute by name": "{{ ''['__class__'] }}",
    "attribute by format": "{{ '{0.__class__}'.format(app) }}",
    "the template itself": "{{ self._TemplateReference__context.environment }}",
    "a generator's frame": "{{ (app|map('upper')).gi_frame.f_globals }}",
    "a file": "{% include '/etc/hostname' %}",
    "a file above": "{% include '../../../../../../etc/hostname' %}",
    "a file to import": "{% import '/etc/hostname' as x %}",
    "a statement": "{% do app.clear() %}",
    "loops in loops": TURNS * 3 + "x" + "{% endfor %}" * 3,
    "a loop that says nothing": TURNS * 2 + "{% set x = 1 %}" + "{% endfor %}" * 2,
    "a long range": "{{ range(99999)|list|length }}{{ range(99999)|list|length }}",
    "a macro that doubles": (
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}"
    ),
    "a macro without end": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "a template in itself": "{% include 'webhook.en.txt.j2' %}",
    "a recursive loop": (
        "{% for a in range(9) recursive %}{% if loop.depth < 40 %}{{ loop(range(9)) }}{% endif %}{% endfor %}"
    ),
    "a long text": "{{ 'x' * 999999999999 }}",
    "a long list": "{{ [1] * 999999999999 }}",
    "a large number": "{{ 9 ** (9 ** 9) }}",
    "words without end": "{{ lipsum(n=999999999) }}",
}


@pytest.mark.parametrize("kind", ESCAPES)
def test_a_template_gets_no_further_than_its_message(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused soon, with its name; and the packaged one tells the bad news."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "webhook.en.txt.j2").write_text(ESCAPES[kind], "utf-8")
    began = process_time()
    with pytest.raises(SettingsError, match=r"webhook\.en\.txt\.j2|hostname"):
        Templates(folder).strictly(FAILURE, "webhook")
    assert process_time() - began < SOON_S
    assert Templates(folder).message(FAILURE, "webhook").body == Templates().message(FAILURE, "webhook").body
    assert not (tmp_path / "made-by-template").exists()


def test_the_check_finds_a_loop_without_end(tmp_path: Path) -> None:
    """Before a message is needed."""
    (tmp_path / "webhook.en.txt.j2").write_text(ESCAPES["loops in loops"], "utf-8")
    problems = list(check_templates(tmp_path, ("webhook",)))
    assert problems
    assert all("steps" in line and "webhook.en.txt.j2" in line for line in problems)


def test_a_secret_is_in_no_value_of_a_template(tmp_path: Path) -> None:
    """Neither settings nor the surroundings are among what a template may name."""
    for name in ("settings", "config", "environ", "os", "request", "g", "environment"):
        (tmp_path / "webhook.en.txt.j2").write_text(f"{{{{ {name} }}}}", "utf-8")
        with pytest.raises(SettingsError, match="undefined"):
            Templates(tmp_path).strictly(FAILURE, "webhook")


def test_the_packaged_templates_take_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a tenth of what there is, whatever is told."""
    monkeypatch.setattr(templates._Steps, "left", templates.MOST_STEPS // 10)
    for channel, notice in product(CHANNELS, sample_notices()):
        assert Templates().strictly(notice, channel).body


def backup(path: Path, **members: bytes) -> Path:
    """Write a backup whose parts are empty, with these members in addition or instead."""
    empty = {"records": 0, "sha256": sha256(b"").hexdigest()}
    manifest = {"format": "flowledger-backup/1", "created_at": "x", "created_by": "x", "parts": {}}
    manifest["parts"] = dict.fromkeys(PARTS, empty)
    contents = {MANIFEST: json.dumps(manifest).encode(), **{f"{name}.jsonl": b"" for name in PARTS}}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**contents, **members}.items():
            archive.writestr(name, content)
    return path


def test_a_backup_is_never_unpacked(tmp_path: Path) -> None:
    """Whatever its members are called, nothing is written by their names."""
    hostile = {"../above": b"x", "/tmp/flowledger-absolute": b"x", "..\\above": b"x", "runs/../../up": b"x"}
    (tmp_path / "deep").mkdir()
    path = backup(tmp_path / "deep/b.zip", **hostile)
    ledger = SqlLedger.open("memory://", {})
    restore(path, ledger, {})
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == [path]
    assert not Path("/tmp/flowledger-absolute").exists()


@pytest.mark.parametrize(
    "members",
    [
        {MANIFEST: b" " * (200 * 2**20)},
        {MANIFEST: b"[" * 200_000},
        {"runs.jsonl": b"[" * 200_000},
        {"runs.jsonl": b'{"run": {"app": "../../x"}}\n'},
        {"keys.jsonl": b'{"role": "admin"}\n'},
    ],
    ids=["a manifest that unpacks without end", "a deep manifest", "a deep record", "no run", "no key"],
)
def test_a_hostile_backup_is_damaged(tmp_path: Path, members: dict[str, bytes]) -> None:
    """It is refused before anything is written, in little memory."""
    path = backup(tmp_path / "b.zip", **members)
    ledger = SqlLedger.open("memory://", {})
    tracemalloc.start()
    with pytest.raises((StorageError, UsageError), match=r"b\.zip"):
        check_backup(path, {})
    assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    tracemalloc.stop()
    with pytest.raises(FlowledgerError):
        restore(path, ledger, {})
    assert not ledger.access_keys()
