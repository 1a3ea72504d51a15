"""A random cache for an attention case, and the step in double precision."""

import numpy as np


def to_bits(values, dtype):
    """f32 values rounded to `dtype`, as the integers that memory holds, and the rounded values."""
    if dtype == "f32":
        values = values.astype(np.float32)
        return values.view(np.uint32), values
    if dtype == "f16":
        half = values.astype(np.float16)
        return half.view(np.uint16), half.astype(np.float32)
    raw = values.astype(np.float32).view(np.uint32)
    rounded = ((raw + 0x7FFF + ((raw >> 16) & 1)) >> 16).astype(np.uint16)
    return rounded, (rounded.astype(np.uint32) << 16).view(np.float32)


FLOAT8 = np.array(  # E4M3, by code; the last of each sign is NaN
    [
        (-1.0) ** (code >> 7) * ((8 + code % 8) * 2.0 ** ((code >> 3) % 16 - 10) if code % 128 > 7 else code % 8 * 2.0**-9)
        for code in range(256)
    ],
    np.float32,
)


def to_codes(values, storage):
    """Codes (u8), scales of the last axis (f16), and what they stand for (f32)."""
    most = 127 if storage == "i8" else 448
    scales = np.clip(np.abs(values).max(-1, keepdims=True) / most, 2.0**-14, 65504).astype(np.float16)
    units = values / scales.astype(np.float32)
    if storage == "i8":
        codes = np.rint(units).clip(-127, 127).astype(np.int8)
        return codes.view(np.uint8), scales[..., 0], codes.astype(np.float32) * scales.astype(np.float32)
    order = np.argsort(FLOAT8[:127])  # any code does for a reader
    codes = order[np.searchsorted(FLOAT8[:127][order], np.abs(units)).clip(0, 126)] + 128 * (units < 0)
    return codes.astype(np.uint8), scales[..., 0], FLOAT8[codes] * scales.astype(np.float32)


class Cache:
    """Random contents of every component of the layer, as the kernels see them."""

    def __init__(self, case, rng, sequences, fill="random", ties=False):
        c, self.case = case, case
        slots = c.max_pages * c.page
        shape = (sequences, c.kv_heads)
        if fill == "full":
            lengths = np.full(sequences, slots)
        else:
            some = lambda: rng.choice([1, c.page, c.page + 1, rng.integers(1, slots + 1), slots])
            lengths = np.minimum([some() for _ in range(sequences)], slots)
        if c.prefill:
            lengths = np.maximum(lengths, c.rows)
        self.count = np.repeat(lengths[:, None], c.kv_heads, 1).astype(np.int32)
        if c.slotted:
            less = rng.integers(0, c.page + 1, shape)
            self.count = np.maximum(self.count - less, 1).astype(np.int32)
        pages = shape[0] * shape[1] * c.max_pages
        self.table = rng.permutation(pages).reshape(*shape, c.max_pages).astype(np.int32)
        self.key = rng.standard_normal((pages, c.page, c.key_dim), dtype=np.float32)
        self.value = rng.standard_normal((pages, c.page, c.value_dim), dtype=np.float32)
        self.victim = np.full(shape, -1, np.int32)
        self.positions = lengths.astype(np.int32) - 1  # of each sequence's query
        if c.slotted:
            self.position = np.full((*shape, slots), -1, np.int32)
            self.tail = np.zeros(shape, np.int32)
            for s in range(sequences):
                self.positions[s] = lengths[s] + rng.integers(0, 50)
                for h in range(c.kv_heads):
                    n = self.count[s, h]
                    self.position[s, h, :n] = rng.permutation(self.positions[s] + 1)[:n]
                    self.position[s, h, rng.integers(0, n)] = self.positions[s]
                    # Free slots, but no page without a key.
                    own = self.position[s, h, :n]
                    own[(rng.random(n) < 0.1) & (np.arange(n) % c.page != 0) & (own != self.positions[s])] = -1
                    self.tail[s, h] = int(np.argmax(self.position[s, h]))
        self.scales = {}
        if c.storage:
            key_bits, key_scales, self.key = to_codes(self.key * 0.3, c.storage)
            value_bits, value_scales, self.value = to_codes(self.value * 0.3, c.storage)
            self.scales = {"key_scale": key_scales, "value_scale": value_scales}
        else:
            key_bits, self.key = to_bits(self.key, c.dtype)
            value_bits, self.value = to_bits(self.value, c.dtype)
        self._make_fields(rng, shape, ties)
        # Slots that hold nothing hold NaN.
        used = self._slot_positions() >= 0
        if c.prefill:  # a prompt's kernels count on slots below the count having been written, also freed ones
            used = np.arange(slots) < self.count[..., None]
        by_page = np.zeros((pages, c.page), bool)
        by_page[self.table.reshape(-1)] = used.reshape(-1, c.page)
        quiet = {"f32": 0x7FC00000, "bf16": 0x7FC0, "f16": 0x7E00, "i8": 0x80, "f8E4M3FN": 0x7F}[c.storage or c.dtype]
        key_bits, value_bits = key_bits.copy(), value_bits.copy()
        key_bits[~by_page] = quiet
        value_bits[~by_page] = quiet
        self.pool = np.concatenate([key_bits.reshape(pages, -1), value_bits.reshape(pages, -1)], 1)
        for name, of_page in self.scales.items():
            of_page = np.where(by_page, of_page, np.float16(np.nan))
            self.scales[name] = of_page[self.table].reshape(*shape, slots).view(np.uint16)
        self.key_bytes = c.page * c.key_dim * key_bits.itemsize

    def _slot_positions(self):
        c = self.case
        if c.slotted:
            return self.position
        slots = np.arange(c.max_pages * c.page)
        return np.where(slots[None, None] < self.count[..., None], slots[None, None], -1)

    def _make_fields(self, rng, shape, ties):
        c = self.case
        self.fields = {}
        if not c.selection:
            return
        keys = self.key[self.table]  # [sequence, head, page, slot, channel]
        used = (self._slot_positions() >= 0).reshape(*shape, c.max_pages, c.page, 1)
        page_max, page_min = np.where(used, keys, -np.inf).max(3), np.where(used, keys, np.inf).min(3)
        if ties:
            repeat = np.arange(c.max_pages) % min(3, c.max_pages)
            page_max, page_min = page_max[:, :, repeat], page_min[:, :, repeat]
        for name, values in (("page_max", page_max), ("page_min", page_min)):
            bits, rounded = to_bits(values, c.dtype)
            if c.fields_by_channel:
                bits = np.swapaxes(bits, 2, 3)
            self.fields[name] = (np.ascontiguousarray(bits), rounded)

    def components(self):
        """Arrays by name; `value` lies `key_bytes` into `key`'s pool."""
        arrays = {"table": self.table, "count": self.count, "victim": self.victim}
        if self.case.slotted:
            arrays |= {"position": self.position, "tail": self.tail}
        return arrays | self.scales | {name: bits for name, (bits, _) in self.fields.items()}

    def pages_used(self, sequence, head):
        return -(-int(self.count[sequence, head]) // self.case.page)


def scores(case, cache, query, row, sequence, h):
    """Quest's bound for every page in use of selecting head h, float64, and the size of what it adds up."""
    kv = h * case.kv_heads // case.selecting
    n = cache.pages_used(sequence, kv)
    q = query[row].reshape(case.heads, case.key_dim)[h * case.groups : (h + 1) * case.groups].astype(np.float64)
    upper = cache.fields["page_max"][1][sequence, kv, :n].astype(np.float64)
    lower = cache.fields["page_min"][1][sequence, kv, :n].astype(np.float64)
    per_head = np.maximum(q[:, None] * upper, q[:, None] * lower).sum(-1)
    sizes = np.maximum(np.abs(q[:, None] * upper), np.abs(q[:, None] * lower)).sum(-1)
    if case.selection.group == "sum":
        return per_head.sum(0), sizes.sum(0)
    return per_head.max(0), sizes.max(0)


def select(case, cache, own_scores, sequence, h):
    """The pages to read, from the scores (f32) of the pages in use."""
    kv = h * case.kv_heads // case.selecting
    n = cache.pages_used(sequence, kv)
    current = cache.tail[sequence, kv] // case.page if case.slotted else n - 1
    keys = own_scores[:n].astype(np.float64)
    keys[current] = np.inf
    keys[: case.selection.sinks] = np.inf
    best = np.lexsort((np.arange(n), -keys))[: min(n, case.pages_of(int(cache.count[sequence, kv])))]
    return np.sort(best)


def attend(case, cache, query, row, sequence, h, pages, position):
    """Attention of the query heads of selecting head h over `pages`: values, the log of the softmax's sum, and what each
    slot receives of them all."""
    kv = h * case.kv_heads // case.selecting
    if pages is None:
        n = cache.pages_used(sequence, kv)
        if not case.slotted:
            n = min(n, position // case.page + 1)
        pages = np.arange(n)
    physical = cache.table[sequence, kv][pages]
    slots = (pages[:, None] * case.page + np.arange(case.page)).reshape(-1)
    keys = cache.key[physical].reshape(-1, case.key_dim).astype(np.float64)
    values = cache.value[physical].reshape(-1, case.value_dim).astype(np.float64)
    at = cache.position[sequence, kv][slots] if case.slotted else slots
    visible = (at >= 0) & (at <= position)
    if case.window >= 0:
        visible &= position - at <= case.window
    if case.streaming and (not case.streaming.heads or kv in case.streaming.heads):
        visible &= (at < case.streaming.sinks) | (position - at < case.streaming.window)
    q = query[row].reshape(case.heads, case.key_dim)[h * case.groups : (h + 1) * case.groups].astype(np.float64)
    s = case.scale * q @ keys.T
    if case.softcap:
        s = np.tanh(s / case.softcap) * case.softcap
    if not visible.any():
        return None
    s, values = s[:, visible], values[visible]
    top = s.max(1, keepdims=True)
    p = np.exp(s - top)
    weight = p.sum(1, keepdims=True)
    mass = np.zeros(case.max_pages * case.page)
    mass[slots[visible]] = (p / weight).sum(0)
    return p @ values / weight, (top + np.log(weight))[:, 0], mass
