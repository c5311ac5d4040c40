"""Files of workflows, YAML or JSON: read with the place of what is wrong, and written."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from flowledger.domain.workflows import exchange, old_exports
from flowledger.domain.workflows.validation import Fault
from flowledger.errors import InvalidWorkflowError, UsageError
from flowledger.io.json_text import dumps_strict
from flowledger.io.yaml_text import DocumentError, Place, TextDocument, dump_yaml, read_document

LARGEST_FILE = 16 * 2**20
_PART = re.compile(r"^(?:(connection|group) (\d+)|node ([^:]+)):")


@dataclass(frozen=True, slots=True)
class WorkflowFile:
    """One workflow of a file; ``name`` is the file as the caller named it, ``form`` what stands there."""

    name: str
    form: Any
    document: TextDocument
    place: Place = ()

    @property
    def title(self) -> str:
        """The name of the workflow, or the file's where it has none."""
        title = exchange.imported(self.form)["name"]
        return str(title)

    def check(self) -> None:
        """Check that the file holds a workflow at all.

        :raises UsageError: with file and line of what is none.
        """
        try:
            exchange.imported(self.form)
        except UsageError as error:
            raise UsageError(f"{self._where(self._place_in(str(error)))}: {error}") from None

    def lines(self, faults: Iterable[Fault]) -> list[str]:
        """Return a line for each fault, with file and line of where it is."""
        aliases = [node["alias"] for node in old_exports.current_form(self.form)["nodes"]]
        lines = []
        for fault in faults:
            parts = re.findall(r"[^.\[\]]+", fault.field)
            place: Place = tuple(int(part) if part.isdecimal() else part for part in parts)
            if fault.node in aliases:
                place = ("nodes", aliases.index(fault.node), *place)
            word = "warning: " if fault.is_warning else ""
            lines.append(
                f"{self._where(place)}: {word}{fault.node or 'workflow'}: {fault.field}: {fault.message}"
            )
        return lines

    def refuse(self, faults: Sequence[Fault]) -> None:
        """Refuse a workflow with errors.

        :raises InvalidWorkflowError: with all of them, where there are any.
        """
        if lines := self.lines(fault for fault in faults if not fault.is_warning):
            listed = "\n".join(f"  - {line}" for line in lines)
            raise InvalidWorkflowError(
                f"the workflow in {self.name} has {len(lines)} faults:\n{listed}", lines
            )

    def _where(self, place: Place) -> str:
        line = self.document.line_of((*self.place, *place))
        return self.name if line is None else f"{self.name}, line {line}"

    def _place_in(self, message: str) -> Place:
        """Return the place that the message of an error begins with."""
        match = _PART.match(message)
        if match is None:
            return ()
        if match[1]:
            return (f"{match[1]}s", int(match[2]) - 1)
        nodes = self.form.get("nodes") if isinstance(self.form, Mapping) else None
        for number, node in enumerate(nodes if isinstance(nodes, list) else ()):
            if isinstance(node, Mapping) and match[3] in (str(node.get("alias")), str(node.get("name"))):
                return ("nodes", number)
        return ()


def read_file(path: Path) -> list[WorkflowFile]:
    """Read the workflows of a file: one, or several of an older program's export.

    :raises UsageError: with the file, and the line where there is one, when it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            text = text_from(stream, str(path))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
    return read_text(text, str(path))


def text_from(stream: IO[bytes], name: str) -> str:
    """Read a text of bounded length; ``name`` is what errors call it.

    :raises UsageError: when it is longer, or not UTF-8.
    """
    content = stream.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise UsageError(f"{name}: has more than {LARGEST_FILE:,} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{name}: is not UTF-8: save it as that") from None


def read_text(text: str, name: str) -> list[WorkflowFile]:
    """Read the workflows of a text; ``name`` is what errors call it.

    :raises UsageError: as ``read_file``.
    """
    try:
        document = read_document(text)
    except DocumentError as error:
        where = name if error.line is None else f"{name}, line {error.line}"
        raise UsageError(f"{where}: {error.reason}") from None
    forms = old_exports.forms_in(document.value)
    if document.value is None or not forms:
        raise UsageError(f"{name}: holds nothing")
    if forms[:1] == [document.value]:
        return [WorkflowFile(name, document.value, document)]
    outer: Place = ("workflows",) if isinstance(document.value, Mapping) else ()
    return [WorkflowFile(name, form, document, (*outer, number)) for number, form in enumerate(forms)]


def text_of(form: Mapping[str, Any], kind: str) -> str:
    """Return an exported workflow as the text of a file; ``kind`` is yaml or json."""
    if kind == "json":
        return dumps_strict(form, indented=True).decode() + "\n"
    return dump_yaml(form)
