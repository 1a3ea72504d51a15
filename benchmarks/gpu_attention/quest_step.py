"""What a peer's Quest step reads, and what it must give: the step in plain PyTorch, float64.

A step scores all pages by their bounds, takes of every KV head the page in use last and the best others (a group of query heads
counts by its greatest score), and attends to them.
"""

import torch
from peer_choices import Skip

TIES = 1e-5  # of the greatest score: closer ones may be exchanged
TOLERANCE = 1e-2  # of the output's norm; its numbers are bf16


class Inputs:
    """One layer's cache and query as PyTorch sees them. Keys and values of a page lie together, pages anywhere."""

    def __init__(self, case, one) -> None:
        if not case.selection:
            raise Skip("the case selects nothing")
        if case.storage or case.dtype != "bf16":
            raise Skip("for pages of bf16")
        if case.selection.per_query_head or case.selection.group != "max" or case.selection.sinks:
            raise Skip("for a list per KV head, by the greatest score of its group, without sinks")
        if int(one.count.min()) < case.budget * case.page or case.budget < 2:
            raise Skip("for caches longer than a budget of at least two pages")
        split = case.page * case.key_dim
        self.query = one.query.bfloat16().view(case.rows, case.kv_heads, -1, case.key_dim)
        self.keys = one.pool[:, :split].unflatten(1, (case.page, case.key_dim))
        self.values = one.pool[:, split:].unflatten(1, (case.page, case.value_dim))
        self.table, self.count = one.table, one.count
        self.page_max, self.page_min = one.page_max, one.page_min  # by page or by channel, as the case has them


class Reference:
    """Scores of one set of inputs, and the checks of what a step made of it."""

    def __init__(self, case, inputs: Inputs) -> None:
        self.case, self.inputs = case, inputs
        self.last = (inputs.count.long() - 1) // case.page
        fields = [inputs.page_max, inputs.page_min]
        upper, lower = (f.transpose(2, 3) for f in fields) if case.fields_by_channel else fields
        scores = []
        for query, most, least in zip(inputs.query, upper, lower, strict=True):
            query, most, least = query.double().unsqueeze(2), most.double().unsqueeze(1), least.double().unsqueeze(1)
            scores.append(torch.maximum(query * most, query * least).sum(-1).amax(1))
        self.scores = torch.stack(scores)
        numbers = torch.arange(case.max_pages, device=self.scores.device)
        self.scores[numbers > self.last.unsqueeze(-1)] = -torch.inf

    def check_pages(self, pages: torch.Tensor) -> None:
        """Raises unless the lists are those of the best pages, up to ties."""
        pages, last = pages.long(), self.last.unsqueeze(-1)
        if tuple(pages.shape) != (self.case.rows, self.case.kv_heads, self.case.budget):
            raise ValueError(f"lists of shape {tuple(pages.shape)}")
        if (pages < 0).any() or (pages > last).any() or (pages.sort(-1).values.diff() == 0).any():
            raise ValueError("a list has a page twice, or one that is not in use")
        if not (pages == last).any(-1).all():
            raise ValueError("a list lacks the last page")
        taken = torch.zeros_like(self.scores, dtype=torch.bool).scatter(-1, pages, True)
        others = self.scores.scatter(-1, last, torch.inf)
        worst, best_left = others.masked_fill(~taken, torch.inf).amin(-1), others.masked_fill(taken, -torch.inf).amax(-1)
        if (worst < best_left - TIES * self.scores[self.scores.isfinite()].abs().max()).any():
            raise ValueError("a page was left for a worse one")

    def attend(self, pages: torch.Tensor) -> torch.Tensor:
        """Attention over the listed pages [rows, KV heads, heads of a group, channels]."""
        case, x = self.case, self.inputs
        physical = x.table.gather(-1, pages.to(torch.int64)).long()
        keys, values = (pool[physical].double().flatten(2, 3) for pool in (x.keys, x.values))
        slots = pages.unsqueeze(-1) * case.page + torch.arange(case.page, device=pages.device)
        logits = case.scale * x.query.double() @ keys.transpose(-1, -2)
        logits = logits.masked_fill((slots.flatten(2) >= x.count.unsqueeze(-1)).unsqueeze(2), -torch.inf)
        return logits.softmax(-1) @ values

    def error(self, pages: torch.Tensor, out: torch.Tensor) -> float:
        """Relative error of a step's output; raises if pages or output are wrong."""
        self.check_pages(pages)
        want = self.attend(pages)
        error = float((out.double().view(want.shape) - want).norm() / want.norm())
        if not error < TOLERANCE:
            raise ValueError(f"relative error {error:.1e}")
        return error
