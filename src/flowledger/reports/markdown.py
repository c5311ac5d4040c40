"""Reports as one Markdown document."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from flowledger.domain.figures import Figures
from flowledger.domain.reports import Heading
from flowledger.domain.runs import Entry
from flowledger.domain.texts import mend
from flowledger.reports import markdown_summary
from flowledger.reports.artifacts import append, naming, spool
from flowledger.reports.cells import as_mapping
from flowledger.reports.markdown_run import RunSection
from flowledger.reports.markdown_style import SAFE
from flowledger.reports.paging import Paging
from flowledger.reports.rows import Row, typed_row
from flowledger.reports.texts import Texts, texts_in

FILE_NAME = "report.md"


@dataclass(slots=True)
class MarkdownDocument:
    """A document whose runs are spooled until its summary is known; ``statuses`` counts them meanwhile."""

    section: RunSection
    body: BinaryIO
    count: int = 0
    statuses: Counter[str] = field(default_factory=Counter)

    def add(self, row: Row) -> None:
        """Write the section of one run."""
        self.count += 1
        run = as_mapping(row.get("workflow_run"))
        self.statuses[str(run.get("status") or self.section.texts["unknown"])] += 1
        rule = "\n---\n\n" if self.count > 1 else "\n"
        self.body.write(f"{rule}{self.section.render(self.count, row)}".encode())

    def finish(self, summary: Sequence[str], out: BinaryIO) -> None:
        """Write title and summary (lines), then the runs."""
        lines = [*summary, f"## {self.section.texts['runs']}", ""]
        out.write(mend("\n".join(lines)).encode())
        append(self.body, out)


@dataclass(frozen=True, slots=True)
class _Writer:
    heading: Heading
    path: Path
    texts: Texts
    document: MarkdownDocument

    def add(self, entry: Entry) -> None:
        heading = self.heading
        row = typed_row(entry, with_details=heading.with_details, with_nodes=heading.with_nodes)
        with naming(self.path):
            self.document.add(row)

    def finish(self, figures: Figures) -> Sequence[Path]:
        with naming(self.path), self.path.open("wb") as out:
            self.document.finish(self._summary(figures), out)
        return [self.path]

    def _summary(self, figures: Figures) -> Sequence[str]:
        texts, heading, count = self.texts, self.heading, self.document.count
        paging = Paging(total=count, shown=count, limit=count)
        return [
            *markdown_summary.title(texts, heading.generated_at, heading.tz),
            *markdown_summary.totals(texts, SAFE, paging, self.document.statuses),
            *markdown_summary.proof(texts, SAFE, heading),
            *markdown_summary.findings(texts, SAFE, figures, heading),
        ]


@dataclass(frozen=True, slots=True)
class MarkdownFormat:
    """Writes ``report.md``: the old script's document, with certificate and figures before its runs."""

    @property
    def name(self) -> str:
        """Its word in settings and on the command line."""
        return "markdown"

    @contextmanager
    def begin(self, heading: Heading, directory: Path) -> Iterator[_Writer]:
        """Start writing into an empty directory.

        :raises StorageError: when the file cannot be written.
        """
        path, texts = directory / FILE_NAME, texts_in(heading.language)
        with spool(path) as body:
            document = MarkdownDocument(RunSection(texts, SAFE, heading.tz), body)
            yield _Writer(heading, path, texts, document)
