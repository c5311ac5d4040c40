"""The source's own answers as JSON lines: everything another program could want, nothing mapped."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import orjson

from flowledger.domain.figures import Figures
from flowledger.domain.report_heading import Heading
from flowledger.domain.runs import Detailed, Entry, missing_reason
from flowledger.domain.texts import mend
from flowledger.io.atomic import naming_file
from flowledger.reports.artifacts import closing

FILE_NAME = "data.jsonl"


@dataclass(frozen=True, slots=True)
class _Writer:
    path: Path
    out: BinaryIO

    def add(self, entry: Entry) -> None:
        line = line_of(entry)
        with naming_file(self.path):
            self.out.write(line)

    def finish(self, figures: Figures) -> Sequence[Path]:  # noqa: ARG002  # raw data has no figures
        with naming_file(self.path):
            self.out.flush()
        return [self.path]


@dataclass(frozen=True, slots=True)
class RawDataFormat:
    """One line a run: its id, its row, and each answer by the name of its endpoint, byte for byte."""

    name: str = "data"

    @contextmanager
    def begin(self, heading: Heading, directory: Path) -> Iterator[_Writer]:  # noqa: ARG002
        """Start writing; the heading is not needed."""
        path = directory / FILE_NAME
        with naming_file(path):
            out = path.open("wb")
        with closing(out, path):
            yield _Writer(path, out)


def line_of(entry: Entry) -> bytes:
    """Return one run as a line; a literal line end in JSON is white space, so it can become a space."""
    run, detail = entry.run, entry.detail
    fields = {"run_id": orjson.dumps(mend(run.run_id)), "row": run.raw or b"null"}
    if isinstance(detail, Detailed):
        fields |= detail.raw
    if reason := missing_reason(detail):
        fields["missing"] = orjson.dumps(mend(reason))
    pairs = (orjson.dumps(name) + b":" + body.strip() for name, body in fields.items())
    return b"{" + b",".join(pairs).replace(b"\r", b" ").replace(b"\n", b" ") + b"}\n"
