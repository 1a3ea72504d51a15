#!/usr/bin/env python3
"""Sums up the JUnit reports of the test suites.

    summarize.py DIR SUITE...

DIR/SUITE.xml is the report of a suite. Prints the failed and skipped tests, then a line for each suite, and last one
line over all of them. Exits with 1 if a test failed, or if a suite left no report or ran nothing.
"""

import argparse
import sys
import xml.etree.ElementTree as xml
from collections import Counter
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Result:
    """One test: what became of it, and why."""

    name: str
    outcome: str
    reason: str = ""


def read_report(path: Path) -> list[Result]:
    """The tests of one report. GoogleTest marks tests that did not run as such, not as skipped."""
    results = []
    for case in xml.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname', '')}.{case.get('name', '')}".lstrip(".")
        bad = case.find("failure") if case.find("failure") is not None else case.find("error")
        skipped = case.find("skipped")
        if bad is not None:
            results.append(Result(name, "failed", first_line(bad)))
        elif skipped is not None or case.get("status") == "notrun":
            results.append(Result(name, "skipped", first_line(skipped) if skipped is not None else "disabled"))
        else:
            results.append(Result(name, "passed"))
    return results


def first_line(element: xml.Element) -> str:
    text = (element.get("message") or element.text or "").strip()
    return text.splitlines()[0] if text else ""


def summary(count: Counter) -> str:
    return ", ".join(f"{count[outcome]} {outcome}" for outcome in ("passed", "failed", "skipped"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("suites", nargs="+", metavar="SUITE")
    arguments = parser.parse_args()

    total, lines = Counter(), []
    for suite in arguments.suites:
        try:
            results = read_report(arguments.directory / f"{suite}.xml")
        except (OSError, xml.ParseError) as error:
            results = [Result(suite, "failed", f"no report, did it crash? {error}")]
        count = Counter(result.outcome for result in results)
        if not count["passed"] and not count["failed"]:
            results.append(Result(suite, "failed", "the suite ran no test"))
            count["failed"] = 1
        for result in results:
            if result.outcome != "passed":
                print(f"{result.outcome}: {suite}: {result.name}: {result.reason}")
        lines.append(f"{suite}: {summary(count)}")
        total += count
    print(*lines, summary(total), sep="\n")
    sys.exit(1 if total["failed"] else 0)


if __name__ == "__main__":
    main()
