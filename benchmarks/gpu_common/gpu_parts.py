"""A benchmark as parts, each in a process of its own, so that one that fails takes no other with it; their tables in
Markdown and JSON. Needs nothing but Python."""

import argparse
import dataclasses
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

CARD_FACTS = ("name", "driver_version", "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem", "power.limit")


@dataclasses.dataclass
class Table:
    """What a part measured: rows for people, `data` with everything, and the rows that failed."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    data: list[dict] = dataclasses.field(default_factory=list)
    failures: list[str] = dataclasses.field(default_factory=list)

    def attempt(self, name: str, measure: Callable[[], None]) -> None:
        """Measures one row; an error costs this row only."""
        print(f"  {name}", file=sys.stderr, flush=True)
        try:
            measure()
        except Exception as error:  # whatever it is, it belongs into the report
            traceback.print_exc()
            self.failures.append(f"{name}: {type(error).__name__}: {error}")


@dataclasses.dataclass(frozen=True)
class Spread:
    """Median, least and greatest of some measurements."""

    median: float
    least: float
    greatest: float

    @staticmethod
    def of(values: Sequence[float]) -> "Spread":
        return Spread(statistics.median(values), min(values), max(values))

    def text(self, digits: int) -> str:
        return f"{self.median:,.{digits}f} ({self.least:,.{digits}f}–{self.greatest:,.{digits}f})"

    def times(self, factor: float) -> "Spread":
        return Spread(self.median * factor, self.least * factor, self.greatest * factor)


def rotation(touched: float, l2: float) -> int:
    """Sets of buffers to rotate, so that what is touched exceeds four times the L2 cache; at least two."""
    return max(2, math.floor(4 * l2 / touched) + 1)


def repeats(sets: int, least_steps: int) -> int:
    """Rotations of a graph that has at least so many steps."""
    return max(1, math.ceil(least_steps / sets))


def markdown(table: dict) -> str:
    """A part's table; the first column is text, the others numbers."""
    lines = [f"## {table['title']}", ""]
    if table["rows"]:
        lines.append("| " + " | ".join(table["columns"]) + " |")
        lines.append("|---|" + "--:|" * (len(table["columns"]) - 1))
        lines += ["| " + " | ".join(row) + " |" for row in table["rows"]]
        lines.append("")
    lines += [f"- {note}" for note in table["notes"]]
    lines += [f"- **failed**: {failure}" for failure in table["failures"]]
    return "\n".join(lines).rstrip() + "\n"


def card_facts() -> dict[str, str]:
    """Card, driver and clocks by nvidia-smi, or why not."""
    command = ["nvidia-smi", "-i", "0", f"--query-gpu={','.join(CARD_FACTS)}", "--format=csv,noheader"]
    try:
        line = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError) as error:
        return {"name": "unknown", "error": f"nvidia-smi: {error}"}
    return dict(zip(CARD_FACTS, (value.strip() for value in line.split(",")), strict=False))


def card_line(before: dict[str, str], after: dict[str, str]) -> str:
    if "error" in before:
        return before["error"]
    return (
        f"{before['name']}, driver {before['driver_version']}, clocks as found: SM {before['clocks.sm']} before and "
        f"{after.get('clocks.sm', '?')} after (at most {before['clocks.max.sm']}), memory {before['clocks.mem']}, "
        f"power limit {before['power.limit']}"
    )


def run_part(script: Path, bundle: Path, name: str, timeout: float) -> dict:
    """A part's table from its own process, or one that says what went wrong."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        command = [sys.executable, str(script), "--bundle", str(bundle), "--part", name, "--result", str(result)]
        # A session of its own, so that what it started ends with it.
        child = subprocess.Popen(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, start_new_session=True)
        try:
            _, said = child.communicate(timeout=timeout)
            why = f"exit code {child.returncode}"
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            _, said = child.communicate()
            why = f"stopped after {timeout:.0f} s"
        sys.stderr.write(said)
        if result.exists():
            return json.loads(result.read_text())
    lines = [line for line in said.splitlines() if line and not line.startswith(" ")]
    reason = f"{why}: {lines[-1]}" if lines else why
    return dataclasses.asdict(Table(name, (), failures=[reason]))


def report(title: str, card: str, tables: Sequence[dict]) -> str:
    return "\n".join([f"# {title}", "", card, "", *map(markdown, tables)])


def main(script: Path, description: str, parts: dict[str, Callable[[Path], Table]]) -> int:
    """The command line of a benchmark whose parts measure what a bundle has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="folder of make_gpu_bundle.py (default: where this file is)")
    parser.add_argument("--only", choices=list(parts), action="append", help="this part; may be repeated")
    parser.add_argument("--timeout", type=float, default=600, metavar="SECONDS", help="of a part (default: 600)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep everything")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the tables, which are also printed")
    parser.add_argument("--part", choices=list(parts), help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    bundle = (arguments.bundle or script.parent).resolve()
    made = bundle / "bundle.json"
    if not made.exists():
        parser.error(f"{bundle} is no bundle of make_gpu_bundle.py: give --bundle DIR")
    if arguments.part:
        sys.path.insert(0, str(bundle))
        arguments.result.write_text(json.dumps(dataclasses.asdict(parts[arguments.part](bundle))))
        return 0

    before, tables, facts = card_facts(), {}, json.loads(made.read_text())
    origin = f"Compiled for {facts.get('target')} from {facts.get('made_from')}."
    for name in arguments.only or parts:
        print(name, file=sys.stderr, flush=True)
        tables[name] = run_part(script, bundle, name, arguments.timeout)
        after = card_facts()
        # What is measured stays measured when a later part never ends.
        if arguments.json:
            everything = {"card": before, "card_after": after, "bundle": facts, "parts": tables}
            arguments.json.write_text(json.dumps(everything, indent=1) + "\n")
        text = report(script.stem, f"{card_line(before, after)}. {origin}", list(tables.values()))
        if arguments.markdown:
            arguments.markdown.write_text(text)
    print(text)
    return int(any(table["failures"] for table in tables.values()))
