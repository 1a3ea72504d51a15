"""Models and artifacts that tests share: each is made once a session."""

from collections.abc import Callable
from pathlib import Path

import pytest
import road
from common.config import LlamaConfig

# What each test file needs of the build.
NEEDS_TOOLS = ("test_artifact", "test_batch", "test_dense", "test_device_artifact", "test_identity", "test_merging",
               "test_layer_budgets", "test_pairs", "test_phases", "test_policies", "test_quantize", "test_sequences",
               "test_sessions", "test_smollm2")  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [str(tool) for tool in (road.SPARSE_OPT, road.SPARSE_RUN) if not tool.exists()]
    for item in items:
        if missing and item.path.stem in NEEDS_TOOLS:
            item.add_marker(pytest.mark.skip(reason=f"not built: {', '.join(missing)} (SPARSE_BUILD names the build)"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., road.TinyModel]:
    """tiny(config, seed): a model with random weights."""
    made: dict[tuple, road.TinyModel] = {}

    def make(config: LlamaConfig, seed: int = 0) -> road.TinyModel:
        if (config, seed) not in made:
            made[config, seed] = road.make_model(tmp_path_factory.mktemp("model"), config, seed)
        return made[config, seed]

    return make


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """compiled(model, *options, form=, policy=, chunk=, buckets=): an artifact; the same one for the same arguments."""
    made: dict[tuple, Path] = {}

    def make(
        model: road.TinyModel,
        *options: str,
        form: str = "standard",
        policy: str = "",
        chunk: int = road.CHUNK,
        buckets: str = "1",
    ) -> Path:
        key = (model.folder, form, policy, chunk, buckets, options)
        if key not in made:
            folder = tmp_path_factory.mktemp("artifact")
            extra = [*options, f"--prefill-chunk={chunk}", f"--buckets={buckets}"]
            if policy:
                extra.append(road.policy_option(folder, policy))
            made[key] = road.compile_model(model.onnx(form), folder / "model.spx", *extra)
        return made[key]

    return make
