"""The READMEs say the same, and what they name exists."""

import os
import re
from pathlib import Path

import click
import pytest
from documents import DOCUMENTS, PAIRS, README, ROOT, commands, headings, links, tables, variables

NO_COMMAND = {"cp", ".venv/bin/python", ".venv/bin/prefect", ".venv/bin/fetch-workflow-logs"}


@pytest.fixture(scope="module")
def program() -> click.Group:
    """The command line with all its commands, imported only by the tests that need it."""
    from flowledger.cli.main import cli

    context = click.Context(cli)
    found = [cli.get_command(context, name) for name in cli.list_commands(context)]
    return click.Group(
        commands=[command for command in found if command], context_settings=cli.context_settings
    )


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=[english.name for english, _ in PAIRS])
def test_documents_in_two_languages_have_the_same_shape(english: Path, chinese: Path) -> None:
    """Headings have the same levels, and commands, tables, variables and links are equal."""
    levels = [[line.partition(" ")[0] for line in headings(each)] for each in (english, chinese)]
    assert levels[0] == levels[1]
    assert commands(english) == commands(chinese)
    assert [len(row) for row in tables(english)] == [len(row) for row in tables(chinese)]
    assert sorted(map(sorted, tables(english))) == sorted(map(sorted, tables(chinese)))
    assert variables(english) == variables(chinese)
    assert targets(english) == targets(chinese)
    assert chinese.name in links(english)
    assert english.name in links(chinese)


def targets(document: Path) -> list[str]:
    """Return the other documents that a document leads to, each in whatever language."""
    found = {link.partition("#")[0].replace(".zh-CN.", ".") for link in links(document)}
    return sorted(found - {"", document.name.replace(".zh-CN.", ".")})


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_headings(document: Path) -> None:
    """As the pages of GitHub name them: in small letters, spaces as dashes, without other signs."""
    for link in links(document):
        name, _, anchor = link.partition("#")
        if anchor and "://" not in link:
            there = document.parent / name if name else document
            anchors = {slug(heading.lstrip("# ")) for heading in headings(there)}
            assert anchor in anchors, f"{document.name} links to {link}"


def slug(heading: str) -> str:
    """Return the anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(document: Path) -> None:
    """A link to a file of the project leads there."""
    files = [link for link in links(document) if "://" not in link and not link.startswith("#")]
    assert [link for link in files if not (document.parent / link.partition("#")[0]).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_scripts_in_examples_can_be_run(document: Path) -> None:
    """A script that a document calls is there and executable."""
    called = [words[0] for words in commands(document) if words[0].startswith(("scripts/", ".ci/"))]
    assert [name for name in called if not os.access(ROOT / name, os.X_OK)] == []


def test_commands_and_options_in_the_readme_exist(program: click.Group) -> None:
    """Every example of flowledger is understood by it."""
    examples = [words[1:] for words in commands(README) if words[0] == ".venv/bin/flowledger"]
    assert {words[0] for words in examples} == set(program.commands)
    for words in examples:
        understand(program, words)


def understand(group: click.Group, words: list[str]) -> None:
    """Read the words of an example as the command line does, down to the last command in a command."""
    parent = click.Context(group, **group.context_settings)
    name, *options = words
    command = group.get_command(parent, name)
    assert command is not None, f"{group.name} has no command {name}"
    if isinstance(command, click.Group):
        understand(command, options)
    else:
        command.make_context(name, options, parent=parent)


def test_the_readme_table_names_all_options_of_run(program: click.Group) -> None:
    """The table of run's options names every one of them and no other."""
    known = {option for parameter in program.commands["run"].params for option in parameter.opts}
    named = {word.strip("`") for row in tables(README) for word in row if word.startswith("`--")}
    assert named == known


def test_every_command_explains_itself(program: click.Group) -> None:
    """--help says something about each command."""
    assert [name for name, command in program.commands.items() if not command.help] == []


def test_the_old_script_is_where_the_readme_says() -> None:
    """People call scripts/fetch_workflow_logs.py by its path."""
    (path,) = {word for words in commands(README) for word in words if word.endswith(".py")}
    assert (ROOT / path).is_file()


def test_examples_name_known_programs_only() -> None:
    """No other program is needed to follow the README."""
    programs = {words[0] for words in commands(README)}
    assert programs - NO_COMMAND - {".venv/bin/flowledger"} == {"scripts/run", "scripts/deploy.sh"}
