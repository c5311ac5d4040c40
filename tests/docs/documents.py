"""The documents as text, and what can be picked out of them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
README_ZH = ROOT / "README.zh-CN.md"
PAIRS = (
    (README, README_ZH),
    (ROOT / "docs/operations.md", ROOT / "docs/operations.zh-CN.md"),
)
"""Documents in English and in Chinese."""
ENV_EXAMPLE = ROOT / ".env.example"
DOCUMENTS = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))

_FENCE = re.compile(r"^```bash\n(.*?)^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)]+)\)")
_HEADING = re.compile(r"^#+ .*$", re.MULTILINE)
_VARIABLE = re.compile(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*)`")


def commands(document: Path) -> list[list[str]]:
    """Give the words of each command in a document's shell examples, without their comments."""
    blocks = _FENCE.findall(document.read_text("utf-8"))
    lines = [line.partition(" #")[0].split() for block in blocks for line in block.splitlines()]
    return [words for words in lines if words]


def links(document: Path) -> list[str]:
    """Give the targets of a document's links, in order."""
    return _LINK.findall(document.read_text("utf-8"))


def headings(document: Path) -> list[str]:
    """Give a document's heading lines, outside of examples."""
    return _HEADING.findall(
        re.sub(r"^```.*?^```", "", document.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    )


def variables(document: Path) -> set[str]:
    """Give the names in a document that are written as variables are."""
    return set(_VARIABLE.findall(document.read_text("utf-8")))


def tables(document: Path) -> list[list[str]]:
    """Give the code words of each table row of a document."""
    rows = [line for line in document.read_text("utf-8").splitlines() if line.startswith("|")]
    return [re.findall(r"`[^`]+`", row) for row in rows]
