#!/usr/bin/env python3
"""Writes a long English text in the public domain: the King James Bible, from the Debian packages bible-kjv(-text).

    long_text.py --out FILE

The packages are downloaded with apt-get and unpacked into a scratch folder; nothing is installed.
"""

import argparse
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

PACKAGES = ("bible-kjv", "bible-kjv-text")
VERSES = "Gen1:1-Rev22:21"
LABEL = re.compile(r"^\w+:\d+ ")  # Ge1:1


def read_bible() -> str:
    """All verses in order, a line each, without their numbers."""
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["apt-get", "download", "-q", *PACKAGES], cwd=scratch, check=True, capture_output=True)
        for package in Path(scratch).glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", package, scratch], check=True)
        command = [f"{scratch}/usr/bin/bible", "-f", "-p", f"{scratch}/usr/lib", VERSES]
        text = subprocess.run(command, check=True, capture_output=True, encoding="latin-1").stdout
    return "\n".join(LABEL.sub("", line).strip() for line in text.splitlines()) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.out.exists():
        return
    if shutil.which("apt-get") is None:
        parser.error("apt-get is needed to fetch the text")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    part = arguments.out.with_suffix(".part")
    part.write_text(read_bible(), encoding="utf-8")
    part.rename(arguments.out)


if __name__ == "__main__":
    main()
