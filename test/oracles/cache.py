"""The slots of one KV head of one layer, as docs/architecture.md §6 lays them out."""

from collections.abc import Callable

import numpy as np

from .page_topk import page_bounds

Array = np.ndarray


class HeadCache:
    """Slot s holds one token: its rotated key, its value, its position (−1: free) and the mass it gathered, and received last.

    The bounds of a page are those of every key written to it since the last compaction: a reused slot widens them, so
    they stay valid, if looser (methods.md §1.10). `stored` is what readers see of rows [n, d] that were written.
    """

    def __init__(
        self, head_dim: int, page: int, dtype: type, stored: Callable[[Array], Array] = lambda rows: rows
    ) -> None:
        self.page = page
        self.stored = stored
        self.keys = np.empty((0, head_dim), dtype)
        self.values = np.empty((0, head_dim), dtype)
        self.position = np.empty(0, np.int64)
        self.mass = np.empty(0, dtype)
        self.received = np.empty(0, dtype)
        self.high = np.empty((0, head_dim), dtype)
        self.low = np.empty((0, head_dim), dtype)
        self.victim: int | None = None
        self.budget: int | None = None
        """The slots that a prompt lets the head keep, where prompts say so."""

    @property
    def extent(self) -> int:
        """Slots ever in use since the last compaction."""
        return len(self.position)

    @property
    def live(self) -> Array:
        """The slots that hold a token, int [n], ascending."""
        return np.flatnonzero(self.position >= 0)

    def append_prefill(self, key: Array, value: Array, position: int) -> int:
        """Into the slot after the extent; gives the slot."""
        return self._write(self.extent, key, value, position)

    def append_decode(self, key: Array, value: Array, position: int) -> int:
        """Into the victim's slot if there is one, else after the extent; gives the slot."""
        slot = self.extent if self.victim is None else self.victim
        self.victim = None
        return self._write(slot, key, value, position)

    def gather(self, mass: Array) -> None:
        """Adds what every slot of the extent received in a step."""
        self.mass += mass
        self.received = mass.astype(self.mass.dtype)

    def evict(self, slot: int) -> None:
        """Frees a slot for the next decode append."""
        if self.victim is not None:
            raise ValueError("a head has one victim at a time")
        self.position[slot] = -1
        self.victim = slot

    def merge(self, kept: Array, gone: Array, keys: bool, merged: Callable[[Array, Array], Array]) -> None:
        """Lets the rows of `gone` go into those of `kept`: values, and keys. Page bounds widen by the new keys."""
        self.values[kept] = self.stored(merged(self.values[kept], self.values[gone]))
        if not keys:
            return
        before = self.keys[kept]
        self.keys[kept] = self.stored(merged(before, self.keys[gone]))
        for slot in kept[(self.keys[kept] != before).any(axis=-1)]:
            page = slot // self.page
            self.high[page] = np.maximum(self.high[page], self.keys[slot])
            self.low[page] = np.minimum(self.low[page], self.keys[slot])

    def compact(self, kept: Array) -> None:
        """Keeps the given slots, ordered by position, in the first slots; rebuilds the page bounds."""
        order = kept[np.argsort(self.position[kept])]
        self.keys, self.values = self.keys[order], self.values[order]
        self.position, self.mass, self.received = self.position[order], self.mass[order], self.received[order]
        self.victim = None
        if len(order):
            self.high, self.low = page_bounds(self.keys, self.page)

    def _write(self, slot: int, key: Array, value: Array, position: int) -> int:
        key, value = self.stored(key[None])[0], self.stored(value[None])[0]
        if slot == self.extent:
            self.keys = np.vstack([self.keys, key])
            self.values = np.vstack([self.values, value])
            self.position = np.append(self.position, position)
            self.mass = np.append(self.mass, self.mass.dtype.type(0))
            self.received = np.append(self.received, self.received.dtype.type(0))
            if slot % self.page == 0:
                self.high = np.vstack([self.high, np.full_like(key, -np.inf)])
                self.low = np.vstack([self.low, np.full_like(key, np.inf)])
        else:
            self.keys[slot], self.values[slot] = key, value
            self.position[slot], self.mass[slot] = position, 0
        page = slot // self.page
        self.high[page] = np.maximum(self.high[page], key)
        self.low[page] = np.minimum(self.low[page], key)
        return slot
