"""CaM: an evicted token leaves its value to the kept tokens that follow it (PMLR 235:58840; methods.md §8, §14.4).

It stands on any eviction. Everything here is about one KV head; `mass` is the attention that a slot gathered so far, or in the
last step, summed over the group: its ratio to a mean is that of the mean over the group.
"""

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Cam:
    """`followers` is m; `mode` is bernoulli (all or nothing, by chance) or expectation; `attention` is gathered, or the
    last step's."""

    followers: int = 32
    mode: str = "bernoulli"
    seed: int = 0
    attention: str = "gathered"

    def __post_init__(self) -> None:
        if self.followers < 1:
            raise ValueError("followers must be positive")
        if self.mode not in ("bernoulli", "expectation"):
            raise ValueError(f"mode must be bernoulli or expectation, not {self.mode}")
        if self.attention not in ("gathered", "step"):
            raise ValueError(f"attention must be gathered or step, not {self.attention}")


def probability(own: float, followers: Array) -> float:
    """`clamp(A_i / mean A, 0, 1)`; a mean of 0 takes all of what had any attention (methods.md §8.2)."""
    mean = followers.mean()
    if mean == 0:
        return float(own > 0)
    return float(np.clip(own / mean, 0, 1))


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Philox4x32-10 (Salmon et al., SC 2011): four random words for a counter and a key of words."""
    word = (1 << 32) - 1
    c, k = list(counter), list(key)
    for _ in range(10):
        one, two = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(two >> 32) ^ c[1] ^ k[0], two & word, (one >> 32) ^ c[3] ^ k[1], one & word]
        k = [(k[0] + 0x9E3779B9) & word, (k[1] + 0xBB67AE85) & word]
    return tuple(c)


def uniform(seed: int, layer: int, head: int, position: int) -> float:
    """In [0, 1), 24 bits: a function of these four alone (methods.md §12, determinism)."""
    return (philox((position, head, layer, 0), (seed, 0))[0] >> 8) / (1 << 24)


def shares(
    policy: Cam, mass: Array, positions: Array, gone: Array, kept: Array, layer: int, head: int
) -> list[tuple[int, Array, float]]:
    """Of every slot in `gone` with followers: its index, theirs, and the factor of its value in each of them.

    `gone` and `kept` are slots; `mass` and `positions` those of all slots.
    """
    order = kept[np.argsort(positions[kept])]
    result = []
    for slot in gone:
        following = order[positions[order] > positions[slot]][: policy.followers]
        if len(following) == 0:
            continue
        p = probability(mass[slot], mass[following])
        if policy.mode == "bernoulli":
            p = float(uniform(policy.seed, layer, head, int(positions[slot])) < p)
        result.append((int(slot), following, p / len(following)))
    return result


def merged_values(values: Array, merges: list[tuple[int, Array, float]]) -> Array:
    """The values after `V_j += factor · V_i` for every merge, all from the values before."""
    result = values.copy()
    for slot, following, factor in merges:
        result[following] += factor * values[slot]
    return result
