"""Random tiny networks for the tests of the oracles."""

import dataclasses

import numpy as np
import pytest
from common.config import LlamaConfig
from common.weights import random_weights
from oracles.dense import Network

GROUPS = {"mha": (4, 4), "gqa2": (4, 2), "gqa3": (6, 2), "gqa4": (4, 1), "gqa8": (8, 1)}


@pytest.fixture(scope="session", params=GROUPS)
def network(request: pytest.FixtureRequest) -> Network:
    heads, kv_heads = GROUPS[request.param]
    config = dataclasses.replace(LlamaConfig(), heads=heads, kv_heads=kv_heads)
    return Network(config, random_weights(config, seed=heads * 10 + kv_heads))


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Seeded by the test's own name, so that a failure repeats."""
    return np.random.default_rng(list(request.node.nodeid.encode()))


@pytest.fixture
def ids(network: Network, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, network.config.vocab, 75)
