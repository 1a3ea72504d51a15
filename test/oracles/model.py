"""A Llama that runs token by token or chunk by chunk, with any composition of policies.

One step of a layer, in the order of methods.md §11: append, select pages, attend, add to the mass, evict and merge. A prefill
chunk appends all its tokens, then every query attends to what it may see, densely; eviction waits for the end of the
prompt, or of the chunk where a policy says so. Pages are pages of the slots of one KV head.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from . import cam, d2o, h2o, page_topk, quantize, streaming
from .cache import HeadCache
from .cam import Cam
from .d2o import D2O
from .dense import Network, attention_weights
from .h2o import H2O
from .page_topk import PageTopK
from .quantize import Quantize
from .streaming import Streaming

Array = np.ndarray
KVPolicy = Streaming | H2O | D2O


@dataclass(frozen=True)
class LayerPolicy:
    """What one layer does. `kv` acts on all KV heads but those that `kv_by_head` names; `merge` likewise."""

    attention: PageTopK | None = None
    kv: KVPolicy | None = None
    kv_by_head: Mapping[int, KVPolicy] = field(default_factory=dict)
    merge: Cam | None = None
    merge_by_head: Mapping[int, Cam] = field(default_factory=dict)
    quantize: Quantize | None = None

    def kv_of(self, head: int) -> KVPolicy | None:
        return self.kv_by_head.get(head, self.kv)

    def stored(self, rows: Array) -> Array:
        return quantize.seen(self.quantize, rows) if self.quantize else rows

    def merge_of(self, head: int) -> Cam | None:
        return self.merge_by_head.get(head, self.merge)

    @property
    def cuts_chunks(self) -> bool:
        """Whether the layer is cut after each chunk of a prompt: unless a policy reads the prompt densely."""
        return all(not isinstance(kv, H2O) or kv.prefill == "chunked" for kv in (self.kv, *self.kv_by_head.values()))


DENSE = LayerPolicy()


@dataclass
class HeadTrace:
    """What one KV head did in one decode step."""

    pages: list[Array] | None
    """Page indices of each query head of the group, ascending; None where all were read."""
    attended: int
    """Slots that at least one query head gave weight to."""
    evicted: int | None
    """Position of the token that was evicted after the attention."""
    kept: Array
    """Positions in the cache after the step, ascending."""
    slots: Array
    """Position of every slot of the extent after the step; −1 is free."""


@dataclass
class Cut:
    """What leaves one KV head at once: slots, and those that stay."""

    cache: HeadCache
    gone: Array
    kept: Array


@dataclass
class Decoder:
    """One sequence. `policies` is one for all layers, or one a layer."""

    network: Network
    policies: LayerPolicy | Sequence[LayerPolicy] = DENSE
    length: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        c = self.network.config
        if isinstance(self.policies, LayerPolicy):
            self.policies = [self.policies] * c.layers
        if len(self.policies) != c.layers:
            raise ValueError(f"{len(self.policies)} policies for {c.layers} layers")
        self.caches = [
            [
                HeadCache(c.head_dim, (p.attention or PageTopK()).page, self.network.dtype, p.stored)
                for _ in range(c.kv_heads)
            ]
            for p in self.policies
        ]
        self.trace: list[list[HeadTrace]] = []
        self.merged = [[0] * c.kv_heads for _ in range(c.layers)]
        self.thresholds: list[dict[D2O, float]] = [{} for _ in range(c.layers)]

    def prefill(self, ids: Array, chunk: int | None = None) -> Array:
        """Feeds a prompt in chunks and lets the KV policies compact; logits [n, vocab] of every position."""
        step = chunk or max(1, len(ids))
        rows = []
        for start in range(0, len(ids), step):
            rows.append(self._prefill_chunk(ids[start : start + step]))
            self._compact(chunked=True)
        self._share_budgets()
        self._compact(chunked=False)
        return np.concatenate(rows)

    def _share_budgets(self) -> None:
        """After the first prompt the layers whose D2O shares its budget learn what they keep."""
        members: list[tuple[D2O, list[HeadCache]]] = []
        for layer, caches in zip(self.policies, self.caches, strict=True):
            governed: dict[D2O, list[HeadCache]] = {}
            for head, cache in enumerate(caches):
                policy = layer.kv_of(head)
                if isinstance(policy, D2O) and policy.budgets == "variance":
                    governed.setdefault(policy, []).append(cache)
            members += governed.items()
        if any(cache.budget is not None for _, caches in members for cache in caches):
            return
        spreads = [d2o.spread([cache.mass[cache.live] for cache in caches]) for _, caches in members]
        for (policy, caches), share in zip(members, d2o.shares(spreads), strict=True):
            for cache in caches:
                cache.budget = policy.share(float(share), self.length)

    def decode(self, token: int) -> Array:
        """Feeds one token; logits [vocab]. `trace[layer][head]` then tells what happened."""
        positions = np.array([self.length])
        x = self.network.embed(np.array([token]))
        self.trace = []
        for layer, policy in enumerate(self.policies):
            q, k, v = self.network.project(layer, x, positions)
            grouped = self._grouped(q)
            outputs, traces, cuts = [], [], {}
            for head, cache in enumerate(self.caches[layer]):
                output, trace = _decode_head(
                    policy.attention, policy.kv_of(head), cache, grouped[0, head], k[0, head], v[0, head], self.length
                )
                outputs.append(output)
                traces.append(trace)
                if (victim := _victim(policy.kv_of(head), cache)) is not None:
                    cuts[head] = Cut(cache, np.array([victim]), np.setdiff1d(cache.live, [victim]))
            self._merge(layer, cuts)
            for head, cut in cuts.items():
                traces[head].evicted = int(cut.cache.position[cut.gone[0]])
                cut.cache.evict(int(cut.gone[0]))
            for cache, trace in zip(self.caches[layer], traces, strict=True):
                trace.kept, trace.slots = np.sort(cache.position[cache.live]), cache.position.copy()
            x = self.network.finish(layer, x, np.stack(outputs).reshape(q.shape))
            self.trace.append(traces)
        self.length += 1
        return self.network.logits(x)[0]

    def run(self, ids: Array, prefill: int, chunk: int | None = None) -> Array:
        """Prefills the first `prefill` ids and decodes the others; logits [n, vocab]."""
        rows = [self.prefill(ids[:prefill], chunk)] if prefill else []
        rows += [self.decode(int(token))[None] for token in ids[prefill:]]
        return np.concatenate(rows)

    def _prefill_chunk(self, ids: Array) -> Array:
        positions = np.arange(self.length, self.length + len(ids))
        x = self.network.embed(ids)
        for layer, policy in enumerate(self.policies):
            q, k, v = self.network.project(layer, x, positions)
            grouped = self._grouped(q)
            outputs = []
            for head, cache in enumerate(self.caches[layer]):
                for row, position in enumerate(positions):
                    cache.append_prefill(k[row, head], v[row, head], position)
                seen = _visible(policy.kv_of(head), cache, positions)
                weights = attention_weights(grouped[:, head], cache.keys, seen)
                cache.gather(h2o.gathered_mass(weights))
                outputs.append(np.einsum("rgn,nd->rgd", weights, cache.values))
            x = self.network.finish(layer, x, np.stack(outputs, axis=1).reshape(q.shape))
        self.length += len(ids)
        return self.network.logits(x)

    def _compact(self, chunked: bool) -> None:
        """Cuts the layers that are cut after chunks, or the others."""
        for layer, policy in enumerate(self.policies):
            if policy.cuts_chunks != chunked:
                continue
            cuts = {}
            for head, cache in enumerate(self.caches[layer]):
                if (kv := policy.kv_of(head)) is not None:
                    cuts[head] = _choose(kv, cache)
            self._merge(layer, cuts)
            for cut in cuts.values():
                cut.cache.compact(cut.kept)

    def _merge(self, layer: int, cuts: dict[int, Cut]) -> None:
        """Lets what leaves a layer at once go into what stays."""
        for head, cut in cuts.items():
            policy, cache = self.policies[layer].merge_of(head), cut.cache
            if policy is None or len(cut.gone) == 0:
                continue
            mass = cache.mass if policy.attention == "gathered" else cache.received
            merges = cam.shares(policy, mass, cache.position, cut.gone, cut.kept, layer, head)
            cache.values = cache.stored(cam.merged_values(cache.values, merges))
            self.merged[layer][head] += sum(factor > 0 for _, _, factor in merges)
        for policy in {self.policies[layer].kv_of(head) for head in cuts}:
            if isinstance(policy, D2O):
                own = {h: cut for h, cut in cuts.items() if self.policies[layer].kv_of(h) == policy and len(cut.gone)}
                if own:
                    self._merge_nearest(layer, policy, own)

    def _merge_nearest(self, layer: int, policy: D2O, cuts: dict[int, Cut]) -> None:
        """D2O: the heads share a threshold, which follows the similarities of all that they evict."""
        pairs = {}
        for head, cut in cuts.items():
            cut.kept = cut.kept[np.argsort(cut.cache.position[cut.kept])]
            pairs[head] = d2o.nearest(cut.cache.keys[cut.gone], cut.cache.keys[cut.kept])
        similarity = np.concatenate([s for _, s in pairs.values()])
        threshold = d2o.next_threshold(policy, self.thresholds[layer].get(policy), similarity)
        self.thresholds[layer][policy] = threshold
        for head, cut in cuts.items():
            cut.cache.merge(cut.kept, cut.gone, policy.merge_keys, lambda kept, gone, pair=pairs[head]: d2o.merge_rows(
                policy, kept, gone, *pair, threshold
            ))  # fmt: skip
            self.merged[layer][head] += int((pairs[head][1] >= threshold).sum())

    def _grouped(self, q: Array) -> Array:
        """[rows, H, d] → [rows, Hk, group, d]."""
        return q.reshape(len(q), self.network.config.kv_heads, -1, q.shape[-1])


def _visible(kv: KVPolicy | None, cache: HeadCache, queries: Array) -> Array:
    """Bool [rows, slots]: live, not after the query, and within what the KV policy lets it see."""
    keys = cache.position[None, :]
    seen = (keys >= 0) & (keys <= queries[:, None])
    if isinstance(kv, Streaming):
        seen &= streaming.visible(kv, queries[:, None], keys)
    return seen


def _decode_head(
    attention: PageTopK | None, kv: KVPolicy | None, cache: HeadCache, q: Array, key: Array, value: Array, position: int
) -> tuple[Array, HeadTrace]:
    """One decode step of one KV head: q [group, d] → [group, d]."""
    slot = cache.append_decode(key, value, position)
    seen = np.repeat(_visible(kv, cache, np.array([position])), len(q), axis=0)

    pages = None
    if attention is not None:
        policy = attention.at(len(cache.live))
        pages = page_topk.select_pages(policy, q, cache.high, cache.low, slot // cache.page)
    if pages is not None:
        seen &= np.array([page_topk.slots_of(chosen, cache.page, cache.extent) for chosen in pages])

    weights = attention_weights(q[None], cache.keys, seen[None])
    output = weights[0] @ cache.values
    cache.gather(h2o.gathered_mass(weights))
    return output, HeadTrace(pages, int(seen.any(axis=0).sum()), None, cache.position, cache.position)


def _mass(kv: H2O, cache: HeadCache, live: Array) -> Array:
    return d2o.forced(kv, cache.mass[live], cache.position[live]) if isinstance(kv, D2O) else cache.mass[live]


def _now(kv: KVPolicy, cache: HeadCache) -> KVPolicy:
    """A policy with the budgets that it has at the current length, or from the sequence's first prompt on."""
    if isinstance(kv, D2O) and kv.budgets == "variance":
        return kv.keeping(kv.most if cache.budget is None else cache.budget)
    return kv.at(int(cache.position.max()) + 1) if isinstance(kv, H2O) else kv


def _victim(kv: KVPolicy | None, cache: HeadCache) -> int | None:
    """The slot that leaves after a decode step, once the live ones exceed the cap."""
    if kv is None:
        return None
    live, kv = cache.live, _now(kv, cache)
    if len(live) <= kv.cap:
        return None
    if len(live) > kv.cap + 1:
        raise ValueError("more than one token over the budget: the prompt was not compacted")
    if isinstance(kv, H2O):
        index = h2o.victim(kv, _mass(kv, cache, live), cache.position[live])
    else:
        index = int(np.flatnonzero(~streaming.kept(kv, cache.position[live]))[0])
    return int(live[index])


def _choose(kv: KVPolicy, cache: HeadCache) -> Cut:
    """What brings a head down to its cap."""
    live, kv = cache.live, _now(kv, cache)
    if len(live) <= kv.cap:
        kept = np.ones(len(live), bool)
    elif isinstance(kv, H2O):
        kept = h2o.kept_after_prefill(kv, _mass(kv, cache, live), cache.position[live])
    else:
        kept = streaming.kept(kv, cache.position[live])
    return Cut(cache, live[~kept], live[kept])
