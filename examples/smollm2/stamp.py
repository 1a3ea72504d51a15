"""Remembers what a folder was made from, so that making it again does nothing."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

NAME = "made.json"


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_current(directory: Path, sources: dict[str, str]) -> bool:
    """True if the folder was made from the same sources and each of its files still has its digest."""
    try:
        stamp = json.loads((directory / NAME).read_text())
        return stamp["sources"] == sources and all(
            file_digest(directory / name) == digest for name, digest in stamp["files"].items()
        )
    except (OSError, ValueError, KeyError):
        return False


def write_stamp(directory: Path, sources: dict[str, str], files: Iterable[Path]) -> None:
    digests = {path.relative_to(directory).as_posix(): file_digest(path) for path in files}
    (directory / NAME).write_text(json.dumps({"sources": sources, "files": digests}, indent=2) + "\n")
