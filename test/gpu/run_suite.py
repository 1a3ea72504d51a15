#!/usr/bin/env python3
"""Runs the GPU suite of the bundle that this file lies in, every test by name.

    python3 run_suite.py [--filter TEXT]... [--states N] [--jobs N] [--json FILE] [--junit FILE]
    python3 run_suite.py --sanitizer memcheck|racecheck|synccheck|initcheck [--jobs N]

Needs Python with NumPy and the CUDA driver; nothing of the bundle was built on this machine. Prompts of models also need
cuBLASLt (libcublasLt.so.13 or .12, which comes with CUDA and with PyTorch); tests that miss it are skipped. Without a card
everything is skipped, and the exit code is 0. With --sanitizer the smaller half of the tests runs under NVIDIA's
compute-sanitizer, a process each, and what it reports is a failure.

The last line sums up. Exit codes: 0 nothing failed, 1 a test failed, 2 usage.
"""

import argparse
import concurrent.futures
import ctypes
import dataclasses
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import xml.etree.ElementTree as xml
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")
FOUND_BY_SANITIZER = 86  # exit code of a program in which nothing failed but what the sanitizer found
TWIN = "_dense"  # as attention_case.DENSE_TWIN
SMALL_CASE = 300_000  # elements of the keys of an attention case that sanitizers run
MISSING_BLAS = "cuBLASLt"


@dataclasses.dataclass(frozen=True)
class Test:
    """What suite.json says: `kind` is attention, verify, check or gtest; `small` ones run under sanitizers, too."""

    name: str
    kind: str
    small: bool
    arguments: dict
    __test__ = False  # for pytest

    @staticmethod
    def from_json(value: dict) -> "Test":
        return Test(value["name"], value["kind"], value["small"], value["arguments"])


@dataclasses.dataclass(frozen=True)
class Outcome:
    test: Test
    status: str  # passed, failed or skipped
    seconds: float = 0.0
    text: str = ""

    def line(self) -> str:
        word = {"passed": "pass", "failed": "FAIL", "skipped": "skip"}[self.status]
        return f"{word}  {self.test.name:<52} {self.seconds:7.1f} s  {self.text}".rstrip()


@dataclasses.dataclass(frozen=True)
class Done:
    """A process that has ended: its own lines, and the sanitizer's."""

    code: int
    lines: list[str]
    errors: str
    sanitizer: list[str]
    seconds: float


class Unusable(Exception):
    """Why nothing can run here."""


# --- What there is ---------------------------------------------------------------------------------------------------


def attention_tests(cases: list[dict]) -> list[Test]:
    """A test for each case of the attention bundle."""

    def small(case: dict) -> bool:
        size = case["rows"] * case["kv_heads"] * case["max_pages"] * case["page"] * case["key_dim"]
        return size <= SMALL_CASE

    return [Test(f"attention/{case['name']}", "attention", small(case), {"case": case["name"]}) for case in cases]


def load_tests(folder: Path) -> tuple[dict, list[Test]]:
    suite = json.loads((folder / "suite.json").read_text())
    tests = [Test.from_json(value) for value in suite["tests"]]
    cases = folder / "attention" / "cases.json"
    if cases.exists():
        tests = attention_tests(json.loads(cases.read_text())) + tests
    return suite, tests


def chosen(tests: list[Test], filters: list[str]) -> list[Test]:
    """Those whose name contains one of the texts."""
    return [test for test in tests if not filters or any(text in test.name for text in filters)]


@dataclasses.dataclass(frozen=True)
class Card:
    name: str
    capability: tuple[int, int]
    driver: int

    def __str__(self) -> str:
        major, minor = self.capability
        return f"{self.name}, compute capability {major}.{minor}, driver for CUDA {self.driver // 1000}.{self.driver % 1000 // 10}"


def find_card() -> Card:
    """The first card; raises Unusable where there is none."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise Unusable(f"there is no CUDA driver ({error})") from None
    count, device, version = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if code := driver.cuInit(0):
        raise Unusable(f"the CUDA driver finds no card (cuInit: {code})")
    driver.cuDeviceGetCount(ctypes.byref(count))
    if not count.value:
        raise Unusable("there is no card")
    driver.cuDeviceGet(ctypes.byref(device), 0)
    name = ctypes.create_string_buffer(100)
    driver.cuDeviceGetName(name, 100, device)
    capability = []
    for attribute in (75, 76):  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
        value = ctypes.c_int()
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        capability.append(value.value)
    driver.cuDriverGetVersion(ctypes.byref(version))
    return Card(name.value.decode(), (capability[0], capability[1]), version.value)


def require_target(card: Card, target: str) -> None:
    """Code for sm_90a runs on 9.0 alone, code for sm_90 on 9.x."""
    match = re.fullmatch(r"sm_(\d+)(\d)(a?)", target)
    if not match:
        raise Unusable(f"the bundle is for {target}, which this script does not know")
    major, minor = int(match[1]), int(match[2])
    fits = card.capability == (major, minor) if match[3] else card.capability[0] == major and card.capability[1] >= minor
    if not fits:
        raise Unusable(f"the bundle is for {target}, the card is a {card}")


def find_sanitizer(path: str = os.environ.get("PATH", ""), pattern: str = "/usr/local/cuda*") -> Path | None:
    """compute-sanitizer: in PATH, or of the newest CUDA below /usr/local."""
    if found := shutil.which("compute-sanitizer", path=path):
        return Path(found)
    for folder in sorted(glob.glob(pattern), reverse=True):
        for place in ("bin/compute-sanitizer", "compute-sanitizer/compute-sanitizer"):
            if (Path(folder) / place).is_file():
                return Path(folder) / place
    return None


def library_folders() -> list[str]:
    """Where cuBLASLt may lie that the loader does not look: Python packages, CUDA."""
    packages = sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *sys.path
    patterns = [f"{one}/nvidia/*/lib" for one in packages if one] + ["/usr/local/cuda*/lib64"]
    folders = [folder for pattern in patterns for folder in sorted(glob.glob(pattern), reverse=True)]
    return list(dict.fromkeys(folder for folder in folders if glob.glob(f"{folder}/libcublasLt.so.1[23]")))


# --- Processes -------------------------------------------------------------------------------------------------------


def sanitizer_findings(lines: Iterable[str]) -> int | None:
    """Errors and hazards that a sanitizer's summaries count; None where there is no summary."""
    total = None
    for line in lines:
        match = re.search(r"(?:ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: (\d+) hazard)", line)
        if match:
            total = (total or 0) + int(match[1] or match[2])
    return total


def first_finding(lines: list[str]) -> str:
    """The first lines of what a sanitizer reports, without its own welcome."""
    for index, line in enumerate(lines):
        text = line.lstrip("= ").strip()
        if text and not text.startswith(("COMPUTE-SANITIZER", "ERROR SUMMARY", "RACECHECK SUMMARY", "Target application")):
            following = (one.lstrip("= ").strip() for one in lines[index : index + 4])
            return "; ".join(one for one in following if one)
    return ""


class Runner:
    """Starts the processes of tests."""

    def __init__(self, folder: Path, states: int, sanitizer: tuple[str, Path] | None, timeout: float) -> None:
        self.folder, self.states, self.sanitizer, self.timeout = folder, states, sanitizer, timeout
        paths = [*library_folders(), os.environ.get("LD_LIBRARY_PATH", "")]
        self.environment = os.environ | {
            "LD_LIBRARY_PATH": ":".join(filter(None, paths)),
            "SPARSE_TEST_FILES": str(folder / "lib"),
            "SPARSE_RUNTIME_LIBRARY": str(folder / "lib" / "libsparse_runtime.so"),
            "PYTHONPATH": str(folder / "python"),
        }

    def command(self, *words: object) -> list[str]:
        prefix: list[object] = []
        if self.sanitizer:
            tool, program = self.sanitizer
            prefix = [program, "--tool", tool, "--target-processes", "all", "--error-exitcode", FOUND_BY_SANITIZER]
        return [str(word) for word in (*prefix, *words)]

    def run(self, *words: object, timeout: float | None = None) -> Done:
        """Standard output by line, the sanitizer's lines apart. A process that hangs has the code -1."""
        begin, timeout = time.monotonic(), timeout or self.timeout
        process = subprocess.Popen(
            self.command(*words), env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            errors="replace", start_new_session=True
        )  # fmt: skip
        try:
            output, errors = process.communicate(timeout=timeout)
            code = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # a sanitizer's child, too
            output, errors = process.communicate()
            code, errors = -1, f"{errors}\nstopped after {timeout:.0f} s"
        lines = output.splitlines()
        ours = [line for line in lines if not line.startswith("=========")]
        theirs = [line for line in lines if line.startswith("=========")]
        return Done(code, ours, errors, theirs, time.monotonic() - begin)

    def outcome(self, test: Test, done: Done, figures: str = "", failed: str = "") -> Outcome:
        """What a process of one test comes to; `failed` is why it failed, if the caller knows that."""
        if failed or done.code not in (0, FOUND_BY_SANITIZER):
            if MISSING_BLAS in done.errors:
                return Outcome(test, "skipped", done.seconds, last_line(done.errors))
            text = failed or f"exit code {done.code}: {last_line(done.errors) or last_line(chr(10).join(done.lines))}"
            found = sanitizer_findings(done.sanitizer)
            more = f"; {self.sanitizer[0]}: {found}: {first_finding(done.sanitizer)}" if self.sanitizer and found else ""
            return Outcome(test, "failed", done.seconds, text + more)
        if self.sanitizer:
            found = sanitizer_findings(done.sanitizer)
            if found is None:
                return Outcome(test, "failed", done.seconds, f"{self.sanitizer[0]} gave no summary: {last_line(done.errors)}")
            if found or done.code:
                text = f"{self.sanitizer[0]}: {found} reported, first: {first_finding(done.sanitizer)}"
                return Outcome(test, "failed", done.seconds, text)
        return Outcome(test, "passed", done.seconds, figures)


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


# --- Kinds of tests --------------------------------------------------------------------------------------------------


def run_verify(runner: Runner, test: Test) -> Iterator[Outcome]:
    """`sparse-run verify` against a reference."""
    a, folder = test.arguments, runner.folder
    done = runner.run(
        folder / "bin" / "sparse-run", "verify", folder / a["artifact"], "--device", a["device"], "-r",
        folder / a["reference"], "--prefill", a["prefill"], "--atol", a["atol"], "--rtol", a["rtol"],
        "--check", "--json", "--quiet"
    )  # fmt: skip
    figures = failed = ""
    try:
        report = json.loads("\n".join(done.lines))
        figures = f"largest difference {report['max_abs']:.1e}, top-1 {report['top1_agreement']:.2%} of {report['positions']}"
        if not report["passed"]:
            failed = f"{report['beyond_tolerance']} logits beyond {a['atol']:.1e}: {report['worst']}; {figures}"
    except (ValueError, KeyError, TypeError):
        if done.code in (0, FOUND_BY_SANITIZER):
            failed = f"no report: {last_line(done.errors)}"
    yield runner.outcome(test, done, figures, failed)


def run_check(runner: Runner, test: Test) -> Iterator[Outcome]:
    """A check of model_checks.py."""
    a, folder = test.arguments, runner.folder
    artifacts = [folder / name for name in a["artifacts"]]
    done = runner.run(sys.executable, folder / "model_checks.py", a["check"], *artifacts)
    yield runner.outcome(test, done, last_line("\n".join(done.lines)))


def run_gtest(runner: Runner, test: Test) -> Iterator[Outcome]:
    """One test of the runtime's GoogleTests."""
    program = runner.folder / "bin" / "SparseRuntimeTests"
    done = runner.run(program, f"--gtest_filter={test.arguments['filter']}")
    output = "\n".join(done.lines)
    if not done.code and "[  SKIPPED ]" in output:
        at = next((i for i, line in enumerate(done.lines) if line.endswith(": Skipped")), -1)
        why = done.lines[at + 1] if 0 <= at < len(done.lines) - 1 else "skipped"
        # There is one: this script has found it.
        yield Outcome(test, "failed" if "there is no card" in why else "skipped", done.seconds, why)
        return
    reason = next((line for line in done.lines if ": Failure" in line), "")
    failed = f"{reason} {last_line(done.errors)}" if reason else ""
    if not done.code and "[  PASSED  ] 1 test" not in output:
        failed = "it did not run"
    yield runner.outcome(test, done, "", failed)


def run_attention(runner: Runner, tests: list[Test]) -> Iterator[Outcome]:
    """Cases of run_attention.py, in one process as long as none of them ends it."""
    by_name = {test.arguments["case"]: test for test in tests}
    open_cases, crashed = list(by_name), set()
    states = 1 if runner.sanitizer else runner.states
    while open_cases:
        bases = [name.removesuffix(TWIN) for name in open_cases if name.endswith(TWIN)]
        wanted = ",".join(dict.fromkeys([*open_cases, *(name for name in bases if name not in crashed)]))
        script = runner.folder / "attention" / "run_attention.py"
        words = (sys.executable, script, "--lines", "--states", states, "--cases", wanted)
        done = runner.run(*words, timeout=runner.timeout + 30 * len(open_cases))
        started, answered = None, 0
        for line in done.lines:
            try:
                answer = json.loads(line)
            except ValueError:
                continue
            started = answer.get("start", started)
            if answer.get("case") in open_cases:
                test = by_name[answer["case"]]
                open_cases.remove(answer["case"])
                answered += 1
                seconds = done.seconds / len(tests) if runner.sanitizer else answer["seconds"]
                own = dataclasses.replace(done, code=0, seconds=seconds)
                figures = f"{states} caches, worst error {answer['worst']:.1e}"
                yield runner.outcome(test, own, figures, "; ".join(answer["failures"][:3]))
            if answer.get("case") == started:
                started = None
        if not open_cases:
            return
        text = f"the process ended with {done.code}: {last_line(done.errors)}"
        if started in open_cases:
            open_cases.remove(started)
            crashed.add(started)
            yield runner.outcome(by_name[started], dataclasses.replace(done, code=1), failed=text)
        elif started is not None:  # the other half of a pair
            crashed.add(started)
        elif not answered:
            yield from (Outcome(by_name[name], "failed", 0.0, f"not run: {text}") for name in open_cases)
            return


KINDS = {"verify": run_verify, "check": run_check, "gtest": run_gtest}


def units(tests: list[Test], alone: bool) -> list[list[Test]]:
    """What runs together: pairs of attention cases of which one checks the other, or, unless `alone`, all of them."""
    result: dict[str, list[Test]] = {}
    for test in tests:
        key = test.name
        if test.kind == "attention":
            key = key.removesuffix(TWIN) if alone else "attention"
        result.setdefault(key, []).append(test)
    return list(result.values())


def run_unit(runner: Runner, unit: list[Test]) -> Iterator[Outcome]:
    if unit[0].kind == "attention":
        yield from run_attention(runner, unit)
    else:
        yield from KINDS[unit[0].kind](runner, unit[0])


def run_all(runner: Runner, tests: list[Test], jobs: int, show: Callable[[Outcome], None]) -> list[Outcome]:
    """Every test's outcome, shown as it comes."""
    outcomes: list[Outcome] = []

    def work(unit: list[Test]) -> None:
        known = set()
        try:
            for outcome in run_unit(runner, unit):
                known.add(outcome.test.name)
                outcomes.append(outcome)
                show(outcome)
        except Exception as error:  # a broken test must not take the others with it
            for test in unit:
                if test.name not in known:
                    outcomes.append(Outcome(test, "failed", 0.0, f"{type(error).__name__}: {error}"))
                    show(outcomes[-1])

    # The runtime's tests fill the card and look at what is free: one at a time, after the others.
    shared = [test for test in tests if test.kind != "gtest"]
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        list(pool.map(work, units(shared, alone=jobs > 1 or runner.sanitizer is not None)))
    for test in tests:
        if test.kind == "gtest":
            work([test])
    order = {test.name: index for index, test in enumerate(tests)}
    return sorted(outcomes, key=lambda outcome: order[outcome.test.name])


# --- Reports ---------------------------------------------------------------------------------------------------------


def summary(outcomes: list[Outcome]) -> str:
    count = {status: sum(one.status == status for one in outcomes) for status in ("passed", "failed", "skipped")}
    return ", ".join(f"{number} {status}" for status, number in count.items())


def write_json(path: Path, head: dict, outcomes: list[Outcome]) -> None:
    rows = [{"name": o.test.name, "status": o.status, "seconds": round(o.seconds, 3), "text": o.text} for o in outcomes]
    path.write_text(json.dumps(head | {"summary": summary(outcomes), "tests": rows}, indent=1) + "\n")


def write_junit(path: Path, outcomes: list[Outcome]) -> None:
    counts = {status: sum(one.status == status for one in outcomes) for status in ("failed", "skipped")}
    suite = xml.Element(
        "testsuite", name="gpu", tests=str(len(outcomes)), failures=str(counts["failed"]), skipped=str(counts["skipped"]),
        time=f"{sum(one.seconds for one in outcomes):.3f}"
    )  # fmt: skip
    for one in outcomes:
        group, _, name = one.test.name.partition("/")
        case = xml.SubElement(suite, "testcase", classname=f"gpu.{group}", name=name, time=f"{one.seconds:.3f}")
        if one.status != "passed":
            element = xml.SubElement(case, "failure" if one.status == "failed" else "skipped")
            element.set("message", "".join(c for c in one.text if c.isprintable()))
    xml.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filter", action="append", default=[], metavar="TEXT", help="tests whose name contains it; repeatable")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--states", type=int, default=5, metavar="N", help="random caches of an attention case (default: 5)")
    parser.add_argument("--sanitizer", choices=TOOLS, help="run under this tool of compute-sanitizer")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes at a time, but for the runtime's tests (default: 1)")
    parser.add_argument("--timeout", type=float, metavar="S", help="of a process (default: 600; with --sanitizer 900)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write them as JUnit")
    parser.add_argument("--bundle", type=Path, default=HERE, metavar="DIR", help="(default: where this file is)")
    options = parser.parse_args(arguments)
    if options.states < 1 or options.jobs < 1:
        parser.error("--states and --jobs are at least 1")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    suite, tests = load_tests(options.bundle)
    tests = chosen(tests, options.filter)
    if not tests:
        print(f"no test's name contains {' or '.join(options.filter)}", file=sys.stderr)
        return 2
    if options.list:
        print("\n".join(test.name for test in tests))
        return 0
    head: dict = {"made_from": suite.get("made_from"), "target": suite["target"], "sanitizer": options.sanitizer}
    skipped: list[Outcome] = []
    sanitizer = None
    try:
        card = find_card()
        head["card"] = str(card)
        print(card, flush=True)
        require_target(card, suite["target"])
        if options.sanitizer:
            program = find_sanitizer()
            if program is None:
                print("compute-sanitizer is neither in PATH nor below /usr/local/cuda*", file=sys.stderr)
                return 2
            sanitizer = options.sanitizer, program
            skipped = [Outcome(test, "skipped", 0.0, "not for sanitizers: too large, or fails on purpose")
                       for test in tests if not test.small]  # fmt: skip
            tests = [test for test in tests if test.small]
        runner = Runner(options.bundle.resolve(), options.states, sanitizer, options.timeout or (900 if sanitizer else 600))
        outcomes = run_all(runner, tests, options.jobs, lambda outcome: print(outcome.line(), flush=True))
    except Unusable as reason:
        head["reason"] = str(reason)
        print(f"{reason}: everything is skipped")
        outcomes = [Outcome(test, "skipped", 0.0, str(reason)) for test in tests]
    outcomes += skipped
    if options.json:
        write_json(options.json, head, outcomes)
    if options.junit:
        write_junit(options.junit, outcomes)
    for outcome in outcomes:
        if outcome.status == "failed":
            print(outcome.line())
    print(summary(outcomes))
    return int(any(outcome.status == "failed" for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
