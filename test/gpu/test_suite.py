"""The GPU suite's logic, with programs that only pretend: no card is needed."""

import json
import sys
import tarfile
import xml.etree.ElementTree as xml
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import run_suite  # noqa: E402
from make_suite import card_tests, libraries, pack, share_equal_files, size  # noqa: E402
from run_suite import Card, Outcome, Runner, Test, Unusable, run_all  # noqa: E402

# Announces and answers the cases it is asked for; "bad" fails, "crash" ends the process.
ATTENTION = """
import json, sys
names = sys.argv[sys.argv.index("--cases") + 1].split(",")
open(__file__ + ".log", "a").write(" ".join(names) + "\\n")
for name in ("good", "crash", "bad", "late", "good_dense"):
    if name in names:
        print(json.dumps({"start": name}), flush=True)
        if name == "crash":
            sys.exit("an illegal address")
        failures = ["state 0: off"] if name == "bad" else []
        print(json.dumps({"case": name, "failures": failures, "worst": 1e-6, "seconds": 0.5}), flush=True)
"""
# Behaves as its reference is named.
SPARSE_RUN = """#!{python}
import json, sys
what = sys.argv[sys.argv.index("-r") + 1].rsplit("/", 1)[-1]
if what == "noblas":
    sys.exit("error: the model's prompts need cuBLASLt (libcublasLt.so.13 or .12)")
if what == "crash":
    sys.exit("error: an illegal address")
print(json.dumps({{"max_abs": 1e-5, "top1_agreement": 1.0, "positions": 7, "passed": what != "wrong",
                  "beyond_tolerance": 3, "worst": "row 0"}}, indent=2))
sys.exit(what == "wrong")
"""
SANITIZER = """#!{python}
import subprocess, sys
print("========= COMPUTE-SANITIZER", flush=True)
code = subprocess.run(sys.argv[sys.argv.index("--error-exitcode") + 2 :]).returncode
errors = int("dirty" in " ".join(sys.argv))
if errors:
    print("========= Invalid __global__ read of size 4 bytes\\n=========     at kernel_3")
print(f"========= ERROR SUMMARY: {{errors}} error{{'' if errors == 1 else 's'}}")
sys.exit(code or 86 * errors)
"""


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.format(python=sys.executable))
    path.chmod(0o755)
    return path


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    program(tmp_path / "bin" / "sparse-run", SPARSE_RUN)
    (tmp_path / "attention").mkdir()
    (tmp_path / "attention" / "run_attention.py").write_text(ATTENTION)
    case = {"rows": 1, "kv_heads": 1, "max_pages": 4, "page": 4, "key_dim": 8}
    (tmp_path / "attention" / "cases.json").write_text(json.dumps([case | {"name": "good"}, case | {"name": "bad"}]))
    suite = {"target": "sm_90a", "tests": [verify("same").__dict__, verify("wrong").__dict__]}
    (tmp_path / "suite.json").write_text(json.dumps(suite))
    return tmp_path


def verify(reference: str) -> Test:
    arguments = {"artifact": "m.spx", "reference": reference, "prefill": 3, "device": "cuda", "atol": 1e-4, "rtol": 1e-4}
    return Test(f"model/{reference}", "verify", True, arguments)


def attention(*names: str) -> list[Test]:
    return [Test(f"attention/{name}", "attention", True, {"case": name}) for name in names]


def statuses(outcomes: list[Outcome]) -> dict[str, str]:
    return {outcome.test.name.partition("/")[2]: outcome.status for outcome in outcomes}


def run(runner: Runner, tests: list[Test], jobs: int = 1) -> list[Outcome]:
    return run_all(runner, tests, jobs, lambda outcome: None)


def test_a_case_that_ends_its_process_fails_alone(bundle: Path) -> None:
    outcomes = run(Runner(bundle, 2, None, 60), attention("good", "crash", "bad", "late", "good_dense"))
    expected = {"good": "passed", "crash": "failed", "bad": "failed", "late": "passed", "good_dense": "passed"}
    assert statuses(outcomes) == expected
    assert "an illegal address" in outcomes[1].text
    assert "off" in outcomes[2].text
    # The case that a pair is compared with runs again.
    log = (bundle / "attention" / "run_attention.py.log").read_text().splitlines()
    assert log == ["good crash bad late good_dense", "bad late good_dense good"]


def test_processes_side_by_side_keep_pairs_together(bundle: Path) -> None:
    tests = attention("good", "late", "good_dense")
    assert [len(unit) for unit in run_suite.units(tests, alone=True)] == [2, 1]
    assert set(statuses(run(Runner(bundle, 1, None, 60), tests, 3)).values()) == {"passed"}


def test_a_process_that_cannot_start_fails_all_its_cases(bundle: Path) -> None:
    (bundle / "attention" / "run_attention.py").write_text("import no_such_module")
    outcomes = run(Runner(bundle, 1, None, 60), attention("good", "bad"))
    assert statuses(outcomes) == {"good": "failed", "bad": "failed"}
    assert "no_such_module" in outcomes[0].text


def test_comparisons(bundle: Path) -> None:
    outcomes = run(Runner(bundle, 1, None, 60), [verify(name) for name in ("same", "wrong", "noblas", "crash")])
    assert statuses(outcomes) == {"same": "passed", "wrong": "failed", "noblas": "skipped", "crash": "failed"}
    assert outcomes[0].text == "largest difference 1.0e-05, top-1 100.00% of 7"
    assert "row 0" in outcomes[1].text


GTEST = """#!{python}
import sys
name = sys.argv[1].split("=")[1]
print("Running main() from gtest_main.cc")
if name == "Good":
    print("[  PASSED  ] 1 test.")
elif name == "Bad":
    print("CudaCardTest.cpp:3: Failure\\nExpected equality")
    sys.exit(1)
elif name != "Missing":
    why = {{"Blas": "the model's prompts need cuBLASLt", "Blind": "there is no card, or no code for it"}}[name]
    print(f"CudaCardTest.cpp:24: Skipped\\n{{why}}\\n\\n[  SKIPPED ] {{name}} (0 ms)\\n[  PASSED  ] 0 tests.")
"""


def test_googletests(bundle: Path) -> None:
    program(bundle / "bin" / "SparseRuntimeTests", GTEST)
    names = {"Good": "passed", "Bad": "failed", "Blas": "skipped", "Blind": "failed", "Missing": "failed"}
    tests = [Test(f"runtime/{name}", "gtest", True, {"filter": name}) for name in names]
    assert statuses(run(Runner(bundle, 1, None, 60), tests)) == names


def test_a_hanging_process_fails(bundle: Path) -> None:
    program(bundle / "bin" / "sparse-run", "#!{python}\nimport time\ntime.sleep(60)\n")
    (outcome,) = run(Runner(bundle, 1, None, 0.5), [verify("same")])
    assert outcome.status == "failed"
    assert "stopped after" in outcome.text


def test_what_a_sanitizer_finds_is_a_failure(bundle: Path) -> None:
    tool = program(bundle / "compute-sanitizer", SANITIZER)
    outcomes = run(Runner(bundle, 1, ("memcheck", tool), 60), [verify(name) for name in ("same", "dirty", "wrong")])
    assert statuses(outcomes) == {"same": "passed", "dirty": "failed", "wrong": "failed"}
    assert outcomes[1].text.startswith("memcheck: 1 reported, first: Invalid __global__ read of size 4 bytes; at kernel_3")


def test_summaries_of_sanitizers() -> None:
    assert run_suite.sanitizer_findings(["========= nothing"]) is None
    assert run_suite.sanitizer_findings(["========= ERROR SUMMARY: 0 errors", "========= ERROR SUMMARY: 3 errors"]) == 3
    assert run_suite.sanitizer_findings(["========= RACECHECK SUMMARY: 2 hazards displayed (1 error, 1 warning)"]) == 2


def test_the_sanitizer_is_found_beside_cuda(tmp_path: Path) -> None:
    assert run_suite.find_sanitizer("", str(tmp_path / "cuda*")) is None
    for version in ("12.9", "13.0"):
        program(tmp_path / f"cuda-{version}" / "bin" / "compute-sanitizer", "#!{python}\n")
    assert run_suite.find_sanitizer("", str(tmp_path / "cuda*")) == tmp_path / "cuda-13.0" / "bin" / "compute-sanitizer"


def test_code_for_one_architecture_runs_on_no_other() -> None:
    run_suite.require_target(Card("H100", (9, 0), 13000), "sm_90a")
    run_suite.require_target(Card("other", (8, 9), 13000), "sm_86")
    for target in ("sm_80", "sm_100a", "gfx90a"):
        with pytest.raises(Unusable):
            run_suite.require_target(Card("H100", (9, 0), 13000), target)


def no_card() -> Card:
    raise Unusable("there is no card")


def test_without_a_card_everything_is_skipped(bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(run_suite, "find_card", no_card)
    assert run_suite.main(["--bundle", str(bundle)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "there is no card: everything is skipped", "0 passed, 0 failed, 4 skipped"
    ]  # fmt: skip


def test_the_whole_suite_with_reports(bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(run_suite, "find_card", lambda: Card("H100", (9, 0), 13000))
    reports = ["--json", str(bundle / "r.json"), "--junit", str(bundle / "r.xml")]
    assert run_suite.main(["--bundle", str(bundle), *reports]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "2 passed, 2 failed, 0 skipped"
    report = json.loads((bundle / "r.json").read_text())
    assert [test["status"] for test in report["tests"]] == ["passed", "failed", "passed", "failed"]
    assert report["card"].startswith("H100, compute capability 9.0, driver for CUDA 13.0")
    suite = xml.parse(bundle / "r.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), len(suite.findall(".//failure"))) == ("4", "2", 2)
    assert run_suite.main(["--bundle", str(bundle), "--filter", "same"]) == 0
    assert run_suite.main(["--bundle", str(bundle), "--filter", "nothing"]) == 2


def test_tests_that_need_a_card() -> None:
    listing = """Running main() from gtest_main.cc
CacheTest.
  Works
CudaCardTest.
  MemoryComesAndGoes
Policies/ContextTest.
  Forks/0  # GetParam() = (0, "cpu")
  Forks/2  # GetParam() = (0, "card")
"""
    assert card_tests(listing) == ["CudaCardTest.MemoryComesAndGoes", "Policies/ContextTest.Forks/2"]


def test_libraries_of_a_binary() -> None:
    lines = "\tlinux-vdso.so.1 (0x7f)\n\tlibcrypto.so.3 => /usr/lib/libcrypto.so.3 (0x7f)\n\t/lib64/ld-linux-x86-64.so.2 (0x7f)\n"
    assert libraries(lines) == {
        "linux-vdso.so.1": "linux-vdso.so.1",
        "libcrypto.so.3": "/usr/lib/libcrypto.so.3",
        "ld-linux-x86-64.so.2": "/lib64/ld-linux-x86-64.so.2",
    }


def test_equal_files_are_packed_once(tmp_path: Path) -> None:
    out = tmp_path / "suite"
    data = np.random.default_rng(0).bytes(200_000)
    for name, content in {"a": data, "b": data, "c": data[::-1], "small": b"1", "little": b"1"}.items():
        (out / name).mkdir(parents=True)
        (out / name / "weights").write_bytes(content)
    share_equal_files(out)
    assert size(out) == 400_002
    archive = pack(out)
    assert 400_000 < archive.stat().st_size < 403_000
    with tarfile.open(archive) as file:
        file.extractall(tmp_path / "there", filter="data")
    there = tmp_path / "there" / "suite"
    assert (there / "b" / "weights").read_bytes() == data
    assert (there / "c" / "weights").read_bytes() == data[::-1]
