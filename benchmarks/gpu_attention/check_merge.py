#!/usr/bin/env python3
"""Whether a decode step of D2O merges the right keys and values, against float64, on one GPU.

    check_merge.py --bundle DIR

DIR is a bundle of make_bundle.py --llama or --merges, with this folder's scripts. For every head of some made-up caches, and both ways
to look for the nearest key: the slot that the victim goes into is the one of the most similar key, the threshold follows the means of
the similarities of a row's heads, and no other slot changes. Several steps: the first finds no likely victims named.
"""

import argparse
import json
import pathlib
import sys

import torch
from gpu_evict import Clock, EvictingSet, rotations

SEEDS, STEPS = 3, 3
MERGES_FROM = 4  # launches: append, attention, combination, and the victim come first
LARGEST = 0.02  # of a channel: numbers of up to 4 in bf16
CLOSE = 4e-6  # cosines that f32 can't tell apart


def rows_of(case, cache, pool: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of all slots below the extent, [row, head, slot, channel] in float64."""
    extent = case.evict + 1
    pages = pool[cache.table[:, :, : -(-extent // case.page)].long()]
    parts = pages.split([case.page * case.key_dim, case.page * case.value_dim], dim=-1)
    shapes = [(case.rows, case.kv_heads, -1, dim) for dim in (case.key_dim, case.value_dim)]
    return tuple(part.reshape(shape)[:, :, :extent].double() for part, shape in zip(parts, shapes))


def check(case, cache, before: torch.Tensor, old: torch.Tensor) -> str:
    """What the step did; raises when that is wrong. `before` is the pool in front of the merge, `old` the thresholds."""
    keys, values = rows_of(case, cache, before)
    keys_now, values_now = rows_of(case, cache, cache.pool)

    def at(rows: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        return torch.gather(rows, 2, slots[..., None, None].expand(-1, -1, 1, rows.shape[-1]))

    victim = cache.victim.long()
    key, value = at(keys, victim), at(values, victim)
    cosine = (keys * key).sum(-1) / keys.norm(dim=-1) / key.norm(dim=-1)
    cosine[cache.position[:, :, : case.evict + 1] < 0] = -2
    similarity = cosine.max(-1).values
    mean = similarity.mean(1, keepdim=True)
    threshold = torch.where(old.isinf(), mean, 0.5 * old.double() + 0.5 * mean)
    changed = (keys_now != keys).any(-1) | (values_now != values).any(-1)
    merges, target = changed.any(-1), changed.int().argmax(-1)
    if bool((changed & (cosine < similarity[..., None] - CLOSE)).any() or (changed.sum(-1) > 1).any()):
        raise RuntimeError("other slots changed than those of the most similar keys")
    if bool(((similarity >= threshold) != merges)[(similarity - threshold).abs() > CLOSE].any()):
        raise RuntimeError("not the victims above the threshold merged")
    errors = []
    for rows, now, gone in ((keys, keys_now, key), (values, values_now, value)):
        blended = (at(rows, target) + similarity[..., None, None] * gone) / 2
        errors.append(float((blended - at(now, target)).abs()[merges].amax()) if merges.any() else 0.0)
    if max(errors) > LARGEST or float((cache.threshold - threshold).abs().max()) > CLOSE:
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
    for case in (case for case in cases if case.method == "d2o"):
        plan = plan_runner.Plan(device, module, args.bundle / "plans" / f"{case.name}.json")
        tables = rotations(case)
        weights = {name: tables[name.rsplit("_", 1)[1]].data_ptr() for name in plan.weights()}
        out = {name: torch.zeros(size // 4, device="cuda") for name, size in plan.output_bytes().items()}
        places = {name: tensor.data_ptr() for name, tensor in out.items()}
        for seed in range(SEEDS):
            cache = EvictingSet(case, seed)
            clock = Clock(case, cache.first, STEPS)
            for step in range(STEPS):
                launches = cache.bind(plan, clock[step], places, weights)
                named = cache.likely.clone()
                torch.cuda.synchronize()
                for launch in launches[:MERGES_FROM]:
                    launch(device.stream)
                device.synchronize()
                before, old = cache.pool.clone(), cache.threshold.clone()
                torch.cuda.synchronize()
                for launch in launches[MERGES_FROM:]:
                    launch(device.stream)
                device.synchronize()
                found = int((named == cache.victim[..., None]).any(-1).sum())
                print(f"{case.name}, seed {seed}, step {step}: {check(case, cache, before, old)}; {found} victims were likely ones")


if __name__ == "__main__":
    main()
