"""YAML as settings need it: plain values, and no more of them than a person writes."""

from typing import Any

import yaml

from flowledger.errors import SettingsError

MOST_VALUES = 100_000
"""Names and values of one file, with what its aliases stand for written out: a thousand apps have fewer."""

DEEPEST = 50


def read_yaml(text: str, place: str) -> Any:
    """Read the one document of a file; None for an empty one.

    :raises SettingsError: with a line for what is wrong; it quotes nothing, since the file may hold secrets.
    """
    loader = _ShallowLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        # Before anything is made of it: merged mappings alone could grow without end there.
        if _size(node, {}) > MOST_VALUES:
            raise SettingsError([f"{place}: has more than {MOST_VALUES:,} values, aliases written out"])
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1} of " if mark else ""
        raise SettingsError([f"{line}{place}: is not valid YAML"]) from None
    except ValueError:  # a date that no calendar has
        raise SettingsError(
            [f"{place}: has a date or a number that is none: put it between quotes"]
        ) from None
    except RecursionError:
        raise SettingsError([f"{place}: an alias stands within itself"]) from None
    finally:
        loader.dispose()


class _ShallowLoader(yaml.SafeLoader):
    """Plain values, in no more than so many lists and mappings within each other."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Read what is next, unless it lies too deep."""
        if self._depth > DEEPEST:
            raise yaml.MarkedYAMLError(problem_mark=self.get_mark())
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Count the values below a node; what aliases stand for is counted once and added each time."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        children = (
            node.value
            if isinstance(node, yaml.SequenceNode)
            else [each for two in node.value for each in two]
        )
        known[id(node)] = 1 + sum(_size(child, known) for child in children)
    return known[id(node)]
