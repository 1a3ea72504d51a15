#!/usr/bin/env python3
"""Whether a decode step of D2O merges the right keys and values, against float64, on one GPU.

    check_merge.py --bundle DIR

DIR is a bundle of make_bundle.py --llama, with this folder's scripts. For every head of some made-up caches: the slot that the
victim goes into is the one of the most similar key, the threshold the mean of the similarities of a row's heads, and no other slot
changes.
"""

import argparse
import json
import pathlib
import sys

import torch
from gpu_evict import EvictingSet, rotations

CASE, SEEDS = "full_d2o_32k_b8", 3
MERGES_FROM = 4  # launches: append, attention, combination, and the victim come first
LARGEST = 0.02  # of a channel: numbers of up to 4 in bf16


def rows_of(case, cache, pool: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of all slots below the extent, [row, head, slot, channel] in float64."""
    extent = case.evict + 1
    pages = pool.view(-1, 2, case.page, case.key_dim)[cache.table[:, :, : -(-extent // case.page)].long()]
    flat = (case.rows, case.kv_heads, -1, case.key_dim)
    return tuple(pages[:, :, :, i].reshape(flat)[:, :, :extent].double() for i in range(2))


def check(case, cache, before: torch.Tensor) -> str:
    """What the step did; raises when that is wrong. `before` is the pool in front of the merge."""
    keys, values = rows_of(case, cache, before)
    keys_now, values_now = rows_of(case, cache, cache.pool)

    def at(rows: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        return torch.gather(rows, 2, slots[..., None, None].expand(-1, -1, 1, case.key_dim))

    victim = cache.victim.long()
    key, value = at(keys, victim), at(values, victim)
    cosine = (keys * key).sum(-1) / keys.norm(dim=-1) / key.norm(dim=-1)
    cosine[cache.position[:, :, : case.evict + 1] < 0] = -2
    similarity, target = cosine.max(-1)
    threshold = similarity.mean(1, keepdim=True)
    merges = similarity >= threshold
    expected = torch.zeros_like(cosine, dtype=torch.bool).scatter_(2, target[..., None], merges[..., None])
    errors = []
    for rows, now, gone in ((keys, keys_now, key), (values, values_now, value)):
        if not torch.equal((now != rows).any(-1), expected):
            raise RuntimeError("other slots changed than those of the most similar keys")
        blended = (at(rows, target) + similarity[..., None, None] * gone) / 2
        errors.append(float((blended - at(now, target)).abs()[merges].max()))
    if max(errors) > LARGEST or float((cache.threshold - threshold).abs().max()) > 1e-6:
        raise RuntimeError(f"rows are off by {errors}, thresholds are {cache.threshold.tolist()} for {threshold.tolist()}")
    return f"{int(merges.sum())} of {merges.numel()} victims merged, rows off by {errors[0]:.1e} and {errors[1]:.1e} at most"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=pathlib.Path, required=True)
    args = parser.parse_args()
    sys.path.insert(0, str(args.bundle.resolve()))
    import attention_case
    import cuda_driver
    import plan_runner

    torch.cuda.init()
    device = cuda_driver.Device()
    module = cuda_driver.Module((args.bundle / "kernels.cubin").read_bytes())
    cases = [attention_case.Case.from_json(c) for c in json.loads((args.bundle / "cases.json").read_text())]
    case = next(case for case in cases if case.name == CASE)
    plan = plan_runner.Plan(device, module, args.bundle / "plans" / f"{CASE}.json")
    tables = rotations(case)
    weights = {name: tables[name.rsplit("_", 1)[1]].data_ptr() for name in plan.weights()}
    out = {name: torch.zeros(size // 4, device="cuda") for name, size in plan.output_bytes().items()}
    for seed in range(SEEDS):
        cache = EvictingSet(case, seed)
        launches = cache.bind(plan, {name: tensor.data_ptr() for name, tensor in out.items()}, weights)
        torch.cuda.synchronize()
        for launch in launches[:MERGES_FROM]:
            launch(device.stream)
        device.synchronize()
        before = cache.pool.clone()
        torch.cuda.synchronize()
        for launch in launches[MERGES_FROM:]:
            launch(device.stream)
        device.synchronize()
        print(f"seed {seed}: {check(case, cache, before)}")


if __name__ == "__main__":
    main()
