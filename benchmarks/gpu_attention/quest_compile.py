"""A peer: the Quest step in PyTorch, for torch.compile. Selected pages are gathered; caches are full, so nothing is masked."""

from collections.abc import Callable

import torch
import torch.nn.functional as functional
from peer_choices import Skip

MODE = "max-autotune-no-cudagraphs"
FORMS = {"attend": ["products", "sdpa"], "score": ["pointwise", "products"]}


def page_scores(form: str, query: torch.Tensor, upper: torch.Tensor, lower: torch.Tensor) -> torch.Tensor:
    """f32 [rows, KV heads, pages] from fields by page. max(q a, q b) is q+ a + q- b: two products that add up in f32."""
    if form == "pointwise":
        query, upper, lower = query.float().unsqueeze(3), upper.float().unsqueeze(2), lower.float().unsqueeze(2)
        return torch.maximum(query * upper, query * lower).sum(-1).amax(2)
    positive, negative = (part.flatten(0, 1).transpose(1, 2) for part in (query.clamp(min=0), query.clamp(max=0)))
    upper, lower = upper.flatten(0, 1), lower.flatten(0, 1)
    sums = torch.bmm(upper, positive, out_dtype=torch.float32) + torch.bmm(lower, negative, out_dtype=torch.float32)
    return sums.amax(-1).unflatten(0, query.shape[:2])


def attention(form: str, scale: float, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Of query [rows, KV heads, heads of a group, channels] over keys [rows, KV heads, slots, channels]."""
    if form == "sdpa":
        return functional.scaled_dot_product_attention(query, keys, values, scale=scale)
    shares = ((query @ keys.transpose(-1, -2)).float() * scale).softmax(-1)
    return shares.to(values.dtype) @ values


def step(case, forms: dict) -> Callable:
    """The step as a function of tensors: the list of pages and the output."""

    def run(query, keys, values, page_max, page_min, table, count) -> tuple[torch.Tensor, torch.Tensor]:
        if case.fields_by_channel:
            page_max, page_min = page_max.transpose(2, 3), page_min.transpose(2, 3)
        scores = page_scores(forms["score"], query, page_max, page_min)
        numbers = torch.arange(case.max_pages, device=scores.device)
        last = ((count - 1) // case.page).unsqueeze(-1)
        scores = scores.masked_fill(numbers == last, torch.inf).masked_fill(numbers > last, -torch.inf)
        pages = scores.topk(case.budget, sorted=False).indices
        physical = table.gather(-1, pages)
        own_keys, own_values = keys[physical].flatten(2, 3), values[physical].flatten(2, 3)
        return pages, attention(forms["attend"], case.scale, query, own_keys, own_values)

    return run


class CompiledStep:
    """The compiled step; its list and output are those of the last run."""

    def __init__(self, case, forms: dict, mode: str | None = MODE) -> None:
        torch._dynamo.reset()
        self.work = torch.compile(step(case, forms), mode=mode, dynamic=False, fullgraph=True)
        self.pages = self.out = None

    def poison(self) -> None:
        self.pages = self.out = None

    def run(self, x) -> None:
        self.pages, self.out = self.work(x.query, x.keys, x.values, x.page_max, x.page_min, x.table, x.count)


def forms(inputs: list) -> dict[str, list]:
    if any(bool((x.count % x.keys.shape[1]).any()) for x in inputs):
        raise Skip("for caches of full pages")
    return FORMS
