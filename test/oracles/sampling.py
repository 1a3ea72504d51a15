"""The draw of a token as `sparsity.sample` defines it, in Python integers: tokens are sorted, never counted by digits."""

import numpy as np

TERMS = (1488514807, 515782928, 118750169, 19769297, 2029164)
WORD = 2**64 - 1


def mix(value: int) -> int:
    """One step of SplitMix64."""
    value = (value + 0x9E3779B97F4A7C15) & WORD
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & WORD
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & WORD
    return value ^ value >> 31


def masses(logits: np.ndarray, temperature: float) -> list[int]:
    """2^40 for the best token, 0 below 2^-40 of that."""
    f32 = np.float32
    with np.errstate(all="ignore"):
        inverse = min(max(f32(1) / f32(temperature), f32(2.0**-64)), f32(2.0**64))
        scale = f32(inverse * f32(np.log2(np.e)))
        down = np.maximum((logits - logits.max()) * scale, f32(-41))
    steps = (down * f32(-(2.0**20))).astype(np.int64)
    result = []
    for q in steps.tolist():
        whole, part = divmod(q, 2**20)
        fraction = part * 2**12
        value = 0
        for term in reversed(TERMS):
            value = term - (fraction * value >> 32)
        value = 2**31 - (fraction * value >> 32)
        result.append(value * 2**9 >> whole)
    return result


def best(logits: np.ndarray) -> int:
    return int(np.argmax(logits))


def kept_tokens(logits: np.ndarray, mass: list[int], top_k: int, top_p: float) -> list[int]:
    """The tokens that a draw is among, the best first."""
    order = sorted(range(len(logits)), key=lambda token: (-float(logits[token]) + 0.0, token))
    if top_k > 0:
        order = order[:top_k]
    if top_p < 1:
        total = sum(mass[token] for token in order)
        part = int(np.float32(top_p) * np.float32(2**24))
        need = max(1, (total >> 24) * part + ((total % 2**24) * part >> 24))
        met = 0
        for place, token in enumerate(order):
            met += mass[token]
            if met >= need:
                return order[: place + 1]
    return order


def sample(
    logits: np.ndarray, temperature: float = 0, top_k: int = 0, top_p: float = 1, seed: int = 0, counter: int = 0
) -> int:
    """The token of float32 `logits` [V]; -1 where one is no number."""
    if np.isnan(logits).any():
        return -1
    if temperature == 0 or np.isinf(logits.max()):
        return best(logits)
    mass = masses(logits, temperature)
    kept = kept_tokens(logits, mass, top_k, top_p)
    total = sum(mass[token] for token in kept)
    half = mix(mix(seed) ^ counter) >> 32
    point = (total >> 32) * half + ((total % 2**32) * half >> 32)
    met = 0
    for token in sorted(kept):
        met += mass[token]
        if met > point:
            return token
    raise AssertionError("a draw past all tokens")


def random_case(rng: np.random.Generator, vocab: int) -> tuple[np.ndarray, dict]:
    """Logits and parameters that a step may meet: ties, infinities, no numbers, thresholds at the edges."""
    kind = rng.integers(0, 8)
    logits = (rng.standard_normal(vocab) * rng.choice([0.1, 3.0, 10.0])).astype(np.float32)
    if kind == 0:  # few values, so that thresholds meet ties
        logits = np.round(logits).astype(np.float32)
    elif kind == 1:
        logits[:] = rng.choice([0.0, -0.0, 1.0, -3.5])
    elif kind == 2:
        logits[rng.random(vocab) < 0.9] = -np.inf
    elif kind == 3:
        logits[rng.integers(0, vocab)] = rng.choice([np.inf, -np.inf, np.nan, 3e38, 1e-42])
    elif kind == 4:
        logits[rng.random(vocab) < 0.5] = rng.choice([0.0, -0.0])
        logits[rng.random(vocab) < 0.3] = -0.0
    parameters = {
        "temperature": float(rng.choice(np.array([0, 1e-38, 0.05, 0.7, 1, 1, 1.3, 30, 3e38], np.float32))),
        "top_k": int(rng.choice([0, 0, 1, 2, 40, vocab - 1, vocab, vocab + 5, rng.integers(1, vocab + 1)])),
        "top_p": float(rng.choice(np.array([1, 1, 1e-9, 0.1, 0.5, 0.9, 0.95, 1 - 2**-24, rng.random()], np.float32))),
        "seed": int(rng.integers(0, 2**64, dtype=np.uint64)),
        "counter": (0, 1, 77, 2**32 - 1, 2**32, 2**64 - 1)[rng.integers(0, 6)],
    }
    parameters["top_p"] = max(parameters["top_p"], 1e-30)
    return logits, parameters
