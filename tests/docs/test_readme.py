"""The READMEs say the same, and what they name exists."""

import os
from pathlib import Path

import click
import pytest
from documents import DOCUMENTS, README, README_ZH, ROOT, commands, headings, links, tables

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


def test_both_readmes_have_the_same_shape() -> None:
    """Headings have the same levels, and commands, tables and links are equal."""
    levels = [[line.partition(" ")[0] for line in headings(readme)] for readme in (README, README_ZH)]
    assert levels[0] == levels[1]
    assert commands(README) == commands(README_ZH)
    assert [len(row) for row in tables(README)] == [len(row) for row in tables(README_ZH)]
    assert sorted(map(sorted, tables(README))) == sorted(map(sorted, tables(README_ZH)))
    assert sorted(set(links(README)) - {README_ZH.name}) == sorted(set(links(README_ZH)) - {README.name})


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
