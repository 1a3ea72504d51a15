"""Compiles attention cases into a bundle: kernels, plans and the scripts that run them, for a machine that has neither the
compiler nor this tree."""

import argparse
import dataclasses
import json
import pathlib
import random
import shutil
import subprocess
import tempfile

from attention_case import DENSE_TWIN, Case, Selection, Streaming, cases_text, module_text

HERE = pathlib.Path(__file__).resolve().parent
SCRIPTS = ("attention_case.py", "attention_reference.py", "cuda_driver.py", "plan_runner.py", "run_attention.py")


def random_case(rng, index):
    """A shape that decode may meet."""
    kv_heads, groups = rng.choice([1, 2, 3, 4]), rng.choice([1, 2, 3, 4, 5, 6, 7, 8, 8, 12])
    key_dim = rng.choice([8, 16, 24, 32, 40, 64, 64, 80, 96, 128, 128, 256])
    page, max_pages = rng.choice([1, 4, 8, 16, 16, 16, 24, 32, 64]), rng.choice([3, 16, 64, 104, 296, 300])
    case = Case(
        name=f"case_{index}",
        rows=rng.choice([1, 1, 2, 4, 8]),
        heads=kv_heads * groups,
        kv_heads=kv_heads,
        key_dim=key_dim,
        value_dim=key_dim if rng.random() < 0.8 else rng.choice([16, 64, 128]),
        page=page,
        max_pages=max_pages,
        dtype=rng.choice(["bf16", "bf16", "f16", "f32"]),
        slotted=rng.random() < 0.3,
        softcap=rng.choice([0.0, 0.0, 0.0, 5.0]),
        window=rng.choice([-1, -1, -1, page * 5 // 2]),
    )
    # The reference holds everything in memory.
    while case.max_pages > 4 and case.rows * kv_heads * case.max_pages * page * key_dim > 2_000_000:
        case.max_pages //= 2
    if rng.random() < 0.2:
        heads = () if rng.random() < 0.5 else (0,)
        case.streaming = Streaming(rng.choice([0, 4]), rng.choice([5, page * 2 + 1]), heads)
    if rng.random() < 0.75 and case.max_pages > 4:
        pages = rng.choice([2, max(2, case.max_pages // 7), case.max_pages // 2, case.max_pages])
        case.selection = Selection(
            pages, rng.choice([0, 0, 1]), rng.choice(["max", "sum"]), rng.random() < 0.25
        )
        if rng.random() < 0.3 and pages > case.selection.sinks:
            case.selection.over = pages * page * rng.choice([1, 2, 5]) + rng.choice([0, 7])
        case.shows_list = rng.random() < 0.4
        alone = case.groups == 1 or rng.random() < 0.2
        case.fields_by_channel = alone and case.max_pages % 8 == 0 and rng.random() < 0.6
    case.mass = rng.random() < 0.4
    if key_dim % 16 == 0 and case.value_dim % 16 == 0 and rng.random() < 0.3:
        case.storage = rng.choice(["i8", "f8E4M3FN"])
    if rng.random() < 0.2:
        as_prompt(rng, case)
    return case


def as_prompt(rng, case):
    """Makes the rows those of a prompt, in a form that tensor cores take."""
    case.prefill, case.selection, case.softcap = True, None, 0.0
    case.key_dim, case.value_dim = rng.choice([32, 64, 96, 128]), rng.choice([16, 64, 96, 128])
    case.storage = rng.choice(["", "", "i8", "f8E4M3FN"])
    case.dtype = rng.choice(["bf16", "f16"])
    case.rows = rng.choice([16, 48, 128])
    case.max_pages = min(case.max_pages, 100)
    while case.max_pages * case.page < case.rows:
        case.max_pages *= 2


def with_dense_twins(cases):
    """The cases, and for each whose selection takes every page the dense one that must give the same bits."""
    twins = []
    for case in cases:
        s = case.selection
        if s and s.pages >= case.max_pages and not s.per_query_head and not s.over:
            twins.append(dataclasses.replace(case, name=case.name + DENSE_TWIN, selection=None))
    return cases + twins


def llama_cases():
    """The shapes whose times are reported."""
    shape = dict(heads=32, key_dim=128, value_dim=128, page=16, shows_list=False)
    selected = Selection(pages=128)
    return [
        Case("quest_mha_32k", kv_heads=32, max_pages=2048, selection=selected, fields_by_channel=True, **shape),
        Case("quest_32k", kv_heads=8, max_pages=2048, selection=selected, **shape),
        Case("quest_128k", kv_heads=8, max_pages=8192, selection=Selection(pages=256), **shape),
        Case("quest_32k_b8", kv_heads=8, rows=8, max_pages=2048, selection=selected, **shape),
        Case("dense_32k_b8", kv_heads=8, rows=8, max_pages=2048, **shape),
        Case("dense_32k", kv_heads=8, max_pages=2048, **shape),
        Case("quest_32k_b8_int8", kv_heads=8, rows=8, max_pages=2048, selection=selected, storage="i8", **shape),
        Case("dense_32k_b8_int8", kv_heads=8, rows=8, max_pages=2048, storage="i8", **shape),
        Case("dense_32k_b8_fp8", kv_heads=8, rows=8, max_pages=2048, storage="f8E4M3FN", **shape),
        Case("dense_32k_int8", kv_heads=8, max_pages=2048, storage="i8", **shape),
    ]


def evicting_cases():
    """Steps that evict, for benchmarks/gpu_attention/gpu_evict.py: a fifth of 32K stays."""
    shape = dict(heads=32, kv_heads=8, key_dim=128, value_dim=128, page=16, max_pages=2049, slotted=True, evict=6554, full=True)
    cases = [Case(f"full_{method}_32k_b8", rows=8, method=method, **shape) for method in ("h2o", "cam", "d2o")]
    return cases + [Case("full_d2o_probed_32k_b8", rows=8, method="d2o", likely=4, **shape)]


def random_merging_case(rng, index):
    """A step of D2O of some shape that tensor cores take; where query heads leave rows free, with likely victims."""
    kv_heads, groups = rng.choice([1, 2, 3]), rng.choice([1, 2, 3, 4, 5, 6, 7, 8, 12])
    dim, page = rng.choice([32, 64, 96, 128]), rng.choice([16, 32, 48])
    return Case(
        name=f"merging_{index}",
        rows=rng.choice([1, 2, 4]),
        heads=kv_heads * groups,
        kv_heads=kv_heads,
        key_dim=dim,
        value_dim=rng.choice([dim, dim, 64]),
        page=page,
        max_pages=2048 // page + rng.choice([1, 7]),
        dtype=rng.choice(["bf16", "f16"]),
        slotted=True,
        evict=rng.choice([17, 64, 100, 333, 700]),
        full=True,
        method="d2o",
        likely=max(0, min(rng.choice([1, 3, 4]), 8 - groups)),
    )


def compile_cases(sparse_opt, cases, out, arch="sm_90a", more="", options=()):
    """Writes the bundle to the folder `out`; `more` is text of entries beside the cases, `options` the compiler's."""
    with tempfile.TemporaryDirectory() as folder:
        source, artifact = pathlib.Path(folder, "cases.mlir"), pathlib.Path(folder, "cases.spx")
        source.write_text(module_text(cases, arch, more=more))
        command = [sparse_opt, "compile", str(source), "--compile-from", "stateful", *options, "-o", str(artifact)]
        subprocess.run(command, check=True)
        target = json.loads((artifact / "manifest.json").read_text())["devices"]["cuda"]["targets"][0]
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        shutil.copy(artifact / target["code"], out / "kernels.cubin")
        shutil.copy(artifact / target["ptx"], out / "kernels.ptx")
        shutil.copytree(artifact / "plans" / "cuda", out / "plans")
        (out / "cases.json").write_text(cases_text(cases))
        for script in SCRIPTS:
            shutil.copy(HERE / script, out / script)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sparse-opt", required=True, help="the compiler")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder of the bundle; it is replaced")
    parser.add_argument("--shapes", type=int, default=60, help="random shapes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--llama", action="store_true", help="the shapes whose times are reported, instead")
    parser.add_argument("--merges", action="store_true", help="random steps of D2O for check_merge.py, instead")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    if args.llama:  # full steps read rotations of no bytes
        compile_cases(args.sparse_opt, llama_cases() + evicting_cases(), args.out, options=("--weights=none",))
    elif args.merges:
        cases = [random_merging_case(rng, i) for i in range(args.shapes)]
        compile_cases(args.sparse_opt, cases, args.out, options=("--weights=none",))
    else:
        cases = with_dense_twins([random_case(rng, i) for i in range(args.shapes)])
        compile_cases(args.sparse_opt, cases, args.out)


if __name__ == "__main__":
    main()
