"""What code and documents cite is in this repository, under the heading they name."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

from documents import DOCUMENTS, ROOT, headings

FOLDERS = ("src", "tests", "scripts", "benchmarks", "deployments")
CODE = sorted({path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")} - {Path(__file__)})
CITED = re.compile(r'([\w-]+\.md)((?:,?[\s#]+(?:and )?"[A-Z][^"\n]*")+)')
MENTIONED = re.compile(r"(?<![\w/.*{-])((?:docs/)?[\w-]+\.md)\b")
WRITTEN = {"report.md", "report-details.md"}
"""Names of what Flowledger writes, which comments may have too."""


def cited_headings(text: str) -> list[tuple[str, str]]:
    """Return each document and heading of citations like ``docs/x.md "One", "Two"``, in order."""
    return [
        (name, heading)
        for name, quoted in CITED.findall(text)
        for heading in re.findall(r'"([^"]+)"', quoted)
    ]


def remarks(text: str) -> Iterator[str]:
    """Yield each comment of a module, and each string that stands alone, as docstrings do."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield str(node.value.value)


def test_a_citation_is_read_with_all_its_headings() -> None:
    """A line may break within one, and several headings may follow."""
    text = '# (docs/x.md\n# "One", "Two" and "Three"); y.md, "Four"; "Five"'
    assert cited_headings(text) == [("x.md", "One"), ("x.md", "Two"), ("x.md", "Three"), ("y.md", "Four")]


def test_cited_headings_exist() -> None:
    """Whoever follows a citation arrives."""
    cited = {
        (name, heading): path
        for path in (*CODE, *DOCUMENTS)
        for name, heading in cited_headings(path.read_text("utf-8"))
    }
    assert cited.keys() >= {("dify-api.md", "The log list"), ("dify-api.md", "Timing and load")}
    existing = {(path.name, line.lstrip("# ")) for path in DOCUMENTS for line in headings(path)}
    assert {citation: path for citation, path in cited.items() if citation not in existing} == {}


def test_comments_name_documents_of_this_repository_only() -> None:
    """A reader has no other."""
    texts = [text for text in (path.read_text("utf-8") for path in CODE) if ".md" in text]
    mentioned = {name for text in texts for remark in remarks(text) for name in MENTIONED.findall(remark)}
    assert {name.removeprefix("docs/") for name in mentioned} <= {path.name for path in DOCUMENTS} | WRITTEN
