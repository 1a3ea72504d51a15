"""A peer: the Quest step as a composition of Triton kernels, three or four launches."""

import quest_kernels as kernels
import torch
import triton

TOPK = "torch.topk"


def tilings(case, own_selection: bool = True) -> dict[str, list]:
    """The choices that are tried, most promising first.

    `score` is pages of a program x warps x on tensor cores; `select` ways x warps, no warps meaning inside attention; `attend`
    pages of a program x pages at a time x warps x stages x on tensor cores.
    """
    alone = case.heads == case.kv_heads
    scores = [(64, 4, 0), (32, 4, 0), (128, 8, 0)]
    if not case.fields_by_channel and not alone:
        scores = [(64, 4, 1), (32, 4, 1), (128, 4, 1), (64, 4, 0)]
    parts = [(8, 8, 4, 1), (8, 4, 4, 2), (4, 4, 4, 1), (16, 4, 4, 3), (16, 8, 8, 2), (32, 4, 4, 3), (32, 8, 4, 2)]
    parts = [(*part, 1) for part in parts] + [(*part, 0) for part in parts[1:4] if alone]
    return {
        "attend": [part for part in parts if part[0] <= case.budget],
        "score": scores,
        "select": [(8, 8), (4, 8), (16, 8), (4, 16), (8, 16), (4, 0), (8, 0)] if own_selection else [TOPK],
        "trigger": [2, 1, 0] if own_selection else [0],
    }


class TritonStep:
    """The launches with the buffers between them. The list is in `chosen`, the output in `out`, after `run`."""

    def __init__(self, case, choice: dict) -> None:
        self.case, self.choice = case, choice
        self.lists, self.group = case.rows * case.kv_heads, case.heads // case.kv_heads
        self.parts = triton.cdiv(case.budget, choice["attend"][0])
        lists = (case.rows, case.kv_heads)
        empty = lambda *shape, dtype=torch.float32: torch.empty(shape, dtype=dtype, device="cuda")  # noqa: E731
        self.scores = empty(*lists, case.max_pages)
        self.best = empty(*lists, case.budget)
        self.chosen = empty(*lists, case.budget, dtype=torch.int64 if choice["select"] == TOPK else torch.int32)
        self.physical = empty(*lists, case.budget, dtype=torch.int32)
        self.partial = empty(self.lists * self.parts * self.group, case.value_dim)
        self.greatest, self.weight = (empty(self.lists * self.parts * self.group) for _ in range(2))
        self.out = empty(case.rows, case.heads, case.value_dim, dtype=torch.bfloat16)

    @property
    def pages(self) -> torch.Tensor:
        return self.chosen

    def poison(self) -> None:
        for buffer in (self.scores, self.partial, self.greatest, self.weight, self.out):
            buffer.fill_(torch.nan)
        self.chosen.fill_(-1)

    def run(self, x) -> None:
        self.score(x)
        self.select(x)
        self.attend(x)
        self.combine()

    def launch(self, warps: int) -> dict:
        return {"TRIGGER": self.choice["trigger"], "num_warps": warps, "launch_pdl": self.choice["trigger"] > 0}

    def score(self, x) -> None:
        case, (tile, warps, dot) = self.case, self.choice["score"]
        operands = (x.query, x.page_max, x.page_min, x.count, self.scores, case.max_pages)
        shape = {"DIM": case.key_dim, "PAGE": case.page, "TILE": tile}
        grid = (triton.cdiv(case.max_pages, tile), self.lists)
        if case.fields_by_channel:
            if self.group != 1:
                raise NotImplementedError("fields by channel for groups of query heads")
            kernels.score_by_channel[grid](*operands, **shape, **self.launch(warps))
            return
        padded = max(8, triton.next_power_of_2(self.group))
        kernels.score_by_page[grid](*operands, GROUP=self.group, PADDED=padded, DOT=dot, **shape, **self.launch(warps))

    def selection(self) -> dict:
        ways = self.choice["select"][0]
        return {"BUDGET": self.case.budget, "SPAN": triton.next_power_of_2(self.case.max_pages), "WAYS": ways}

    def select(self, x) -> None:
        if self.choice["select"] == TOPK:
            torch.topk(self.scores, self.case.budget, sorted=False, out=(self.best, self.chosen))
            return
        warps = self.choice["select"][1]
        if warps:
            operands = (self.scores, x.count, x.table, self.chosen, self.physical, self.case.max_pages)
            kernels.select[(self.lists,)](*operands, PAGE=self.case.page, **self.selection(), **self.launch(warps))

    def attend(self, x) -> None:
        case, (part, tile, warps, stages, dot) = self.case, self.choice["attend"]
        topk = self.choice["select"] == TOPK
        selection = {"BUDGET": case.budget, "SPAN": 1, "WAYS": 1} if topk else self.selection()
        kernels.attend[(self.parts, self.lists)](
            *(x.query, x.keys, x.values, x.table, x.count, self.scores, self.chosen, self.physical),
            *(self.partial, self.greatest, self.weight, case.max_pages, x.keys.stride(0), case.scale),
            GROUP=self.group,
            PADDED=max(16, triton.next_power_of_2(self.group)) if dot else 1,
            DIM=case.key_dim,
            VALUE_DIM=case.value_dim,
            PAGE=case.page,
            PART=part,
            TILE=tile,
            STAGES=stages,
            DOT=dot,
            SELECT=not topk and self.choice["select"][1] == 0,
            LOOKUP=topk,
            **selection,
            **self.launch(warps),
        )

    def combine(self) -> None:
        shape = {"GROUP": self.group, "VALUE_DIM": self.case.value_dim, "SPAN": triton.next_power_of_2(self.parts)}
        operands = (self.partial, self.greatest, self.weight, self.out, self.parts)
        kernels.combine[(self.case.rows * self.case.heads,)](*operands, **shape, **self.launch(4))
