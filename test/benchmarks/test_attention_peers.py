"""The peers of benchmarks/gpu_attention: how the best choice is found; what a step must give, where there is PyTorch."""

import dataclasses
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("benchmarks/gpu_attention", "test/gpu")]

from attention_case import Case, Selection  # noqa: E402
from peer_choices import Skip, attempt, line, need, tune  # noqa: E402


def test_dimensions_are_tried_in_turn_and_an_error_costs_one_choice() -> None:
    seen = []

    def measure(choice: dict) -> dict:
        seen.append(tuple(choice.values()))
        if choice["tile"] == 3:
            raise ValueError("no room\nat all")
        us = 10.0 - choice["tile"] + abs(choice["warps"] - 4)
        return {"us": (us, us, us)}

    row = tune({"tile": [1, 3, 2], "warps": [8, 4]}, measure)
    assert seen == [(1, 8), (3, 8), (2, 8), (2, 4)]
    assert row["choice"] == {"tile": 2, "warps": 4}
    assert row["us"][0] == 8.0
    assert row["tried"] == 4
    assert row["failures"] == ["tile 3, warps 8: ValueError: no room"]


def test_a_first_choice_that_fails_is_left() -> None:
    def measure(choice: dict) -> dict:
        return {"us": (1 / choice["a"], 0, 0)}

    assert tune({"a": [0, 1, 2]}, measure)["choice"] == {"a": 2}
    with pytest.raises(RuntimeError, match="a 0: ZeroDivisionError"):
        tune({"a": [0]}, measure)


def test_rows_say_what_became_of_a_peer() -> None:
    row = attempt(lambda: tune({"tile": [(64, 4), (32, 4)]}, lambda c: {"us": (c["tile"][0] / 4, 7.0, 20.0)}), (4.0, 3.0, 5.0))
    assert row["ours_over_peer"] == 0.5
    text = line("triton", row)
    assert "8.00 us (7.00-20.00)  ours/peer 0.50" in text
    assert text.endswith("best of 2: tile 32x4")
    skipped = attempt(lambda: need("no_such_package_as_this"), (1.0, 1.0, 1.0))
    assert "skipped: no package no_such_package_as_this" in line("x", skipped)
    assert "failed: ZeroDivisionError" in line("x", attempt(lambda: {"us": 1 / 0}, (1.0, 1.0, 1.0)))


def test_a_peer_that_skips_while_it_is_tuned_skips() -> None:
    def measure(choice: dict) -> dict:
        raise Skip("not for this case")

    assert attempt(lambda: tune({"a": [1]}, measure), (1.0, 1.0, 1.0)) == {"skipped": "not for this case"}


def filled_set(torch, case: Case) -> SimpleNamespace:
    pages = case.rows * case.kv_heads * case.max_pages
    generator = torch.Generator().manual_seed(3)
    pool = torch.randn(pages, case.page * (case.key_dim + case.value_dim), generator=generator).bfloat16()
    shape = (case.rows, case.kv_heads, case.max_pages)
    table = torch.randperm(pages, generator=generator).int().view(shape)
    keys = pool[:, : case.page * case.key_dim].view(pages, case.page, case.key_dim)[table.long()]
    fields = [keys.amax(3), keys.amin(3)]
    if case.fields_by_channel:
        fields = [field.transpose(2, 3).contiguous() for field in fields]
    count = torch.full(shape[:2], case.max_pages * case.page, dtype=torch.int32)
    query = torch.randn(case.rows, case.heads * case.key_dim, generator=generator)
    return SimpleNamespace(pool=pool, table=table, count=count, query=query, page_max=fields[0], page_min=fields[1])


@pytest.mark.parametrize("attend", ["products", "sdpa"])
@pytest.mark.parametrize("by_channel", [False, True])
def test_the_step_in_torch_is_right_and_a_wrong_one_is_refused(attend: str, by_channel: bool) -> None:
    torch = pytest.importorskip("torch")
    from quest_compile import step
    from quest_step import Inputs, Reference

    case = Case("c", rows=2, heads=8, selection=Selection(12), fields_by_channel=by_channel)
    one = filled_set(torch, case)
    x = Inputs(case, one)
    reference = Reference(case, x)
    operands = (x.query, x.keys, x.values, x.page_max, x.page_min, x.table, x.count)
    pages, out = step(case, {"score": "pointwise", "attend": attend})(*operands)
    assert reference.error(pages, out) < 1e-2
    with pytest.raises(ValueError, match="relative error"):
        reference.error(pages, out * 1.1)
    scores = reference.scores.scatter(-1, reference.last.unsqueeze(-1), torch.inf)
    worst, order = scores.argmin(-1, keepdim=True), scores.gather(-1, pages).argsort(-1)
    with pytest.raises(ValueError, match="left for a worse"):
        reference.check_pages(pages.gather(-1, order).scatter(-1, torch.zeros_like(worst), worst))
    with pytest.raises(ValueError, match="lacks the last"):
        reference.check_pages(pages.gather(-1, order).scatter(-1, torch.full_like(worst, case.budget - 1), worst))
    with pytest.raises(ValueError, match="twice"):
        reference.check_pages(torch.zeros_like(pages))
    with pytest.raises(Skip, match="bf16"):
        Inputs(dataclasses.replace(case, storage="i8"), one)
