"""Files of secrets that other users of this machine can read."""

from collections.abc import Iterator
from pathlib import Path

from flowledger.settings.reading import KEY_FILE, Reading
from flowledger.settings.references import found_at, open_to_others, scheme_of


def open_files(reading: Reading, root: Path) -> Iterator[Path]:
    """Give each file that the settings read a secret from and that is open to others, once."""
    texts = [text.strip() for text in reading.references.values() if scheme_of(text) == "file"]
    if key_file := reading.values.get(KEY_FILE):
        texts.append(str(key_file))
    for text in dict.fromkeys(texts):
        file = found_at(text.removeprefix("file:"), root)
        if open_to_others(file):
            yield file
