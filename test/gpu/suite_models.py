"""The tiny models of the GPU suite: what is compiled, what each must answer, and which of its properties are checked."""

import dataclasses
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import merging_policies
import numpy as np
import policy_pairs
from common.config import LlamaConfig
from common.form_decomposed import DecomposedForm
from common.form_standard import StandardForm
from common.llama_onnx import write_llama
from common.ort import OrtDecoder
from common.weights import random_weights
from oracles.dense import Network
from oracles.model import Decoder
from oracles.policy_file import parse_policies
from safetensors.numpy import load_file, save_file

FORMS = {form.name: form for form in (StandardForm, DecomposedForm)}
TOLERANCE = 1e-4
GQA64 = LlamaConfig(hidden=128, heads=8, kv_heads=2, head_dim=64, ffn=256, vocab=320, max_positions=512)
MHA128 = LlamaConfig(hidden=96, heads=2, kv_heads=2, head_dim=128, ffn=160, vocab=300, max_positions=512, tied=True)
ODD = LlamaConfig(layers=3, hidden=96, heads=6, kv_heads=2, head_dim=24, ffn=130, vocab=317, max_positions=512)
PAIRS = LlamaConfig(layers=6, hidden=64, heads=4, kv_heads=policy_pairs.KV_HEADS, head_dim=32, ffn=96, vocab=260,
                    max_positions=256)  # fmt: skip
LONG, SHORT = (150, 60), (12, 30)  # tokens of the prompt, and decode steps
BF16 = ("--weights-dtype=bf16", "--kv-dtype=bf16")


@dataclasses.dataclass(frozen=True)
class Model:
    """An artifact and the lengths at which it is compared: with ONNX Runtime, or with the oracle of its policy."""

    name: str
    config: LlamaConfig = GQA64
    options: tuple[str, ...] = ()
    policy: str = ""
    form: str = "standard"
    chunk: int = 64
    buckets: str = "1"
    lengths: tuple[tuple[int, int], ...] = (SHORT, LONG)
    devices: tuple[str, ...] = ("cuda",)
    checks: tuple[tuple[str, ...], ...] = ()  # of model_checks.py, with other models
    beside_cpu: bool = False  # code for the CPU in the same artifact

    @property
    def bf16(self) -> bool:
        return "--kv-dtype=bf16" in self.options


def rules(*lines: str) -> str:
    """The text of a policy file with these rules."""
    return "version: 1\nrules:\n" + "".join(f"  - {{{line}}}\n" for line in lines)


WHOLE_QUEST = rules("layers: all, attention: {page_topk: {page: 16, budget: 512}}")

MODELS = (
    # Around the end of a chunk, too.
    Model("dense-f32", lengths=(SHORT, (1, 40), (63, 4), (64, 4), (65, 4), LONG), checks=(("repeat",),)),
    Model("dense-f32-mha128", MHA128, form="decomposed", chunk=32),
    Model("dense-f32-odd", ODD, form="decomposed", chunk=31),
    Model("dense-reference", options=("--reference",), chunk=16, lengths=(SHORT, (40, 40))),
    Model("dense-bf16", options=BF16, checks=(("repeat",),)),
    Model("dense-batch", buckets="1,2,4,8", lengths=(SHORT,), checks=(("batch",),)),
    Model("two-targets", lengths=(SHORT,), chunk=6, devices=("cuda", "cpu"), beside_cpu=True),
    Model("quest", policy=rules("layers: all, attention: {page_topk: {page: 16, budget: 64}}"),
          lengths=(SHORT, (150, 100)), checks=(("repeat",),)),
    Model("quest-modes", ODD, chunk=31, lengths=(SHORT, (37, 100)), policy=rules(
        "layers: 0, attention: {page_topk: {page: 4, budget: 13, group: sum}}",
        "layers: 1-, attention: {page_topk: {page: 8, budget: 24, per_query_head: true, sinks: 3}}")),
    Model("quest-growing", lengths=(SHORT, (100, 90)), checks=(("repeat",),), policy=rules(
        "layers: 0, attention: {page_topk: {page: 16, budget: 80, over: 200, sinks: 4}}",
        "layers: 1, attention: {page_topk: {page: 4, budget: 30, over: 150, least: 12, per_query_head: true}}",
        "layers: 1, kv: {h2o: {heavy: 60, recent: 60, heads: [1]}}")),
    Model("h2o-quest", lengths=(SHORT, (100, 90)), policy=rules(
        "layers: 1-, attention: {page_topk: {page: 16, budget: 48}}",
        "layers: all, kv: {h2o: {heavy: 48, recent: 33, heads: [1]}}")),
    Model("h2o", lengths=(SHORT, (100, 60)), policy=rules(
        "layers: 0, kv: {h2o: {heavy: 0, recent: 17}}", "layers: 1, kv: {h2o: {heavy: 40, recent: 24}}"),
        checks=(("repeat",),)),
    Model("growing", lengths=(SHORT, (100, 90)), policy=rules(
        "layers: 0, kv: {h2o: {heavy: 40, recent: 24, over: 200}}",
        "layers: 1, kv: {d2o: {heavy: 30, recent: 20, sinks: 3, over: 150, least: 12}}")),
    Model("streaming-heads", lengths=(SHORT, (100, 60)), policy=rules(
        "layers: 0, kv: {streaming: {sinks: 4, window: 28}}",
        "layers: 1, kv: {streaming: {sinks: 2, window: 30, heads: [1]}}")),
    # Streaming; Quest over streaming on one of two KV heads; Quest over H2O; in batches.
    Model("mixed-batch", ODD, chunk=31, buckets="1,2,4,8", lengths=(SHORT, (50, 80)), checks=(("batch",),), policy=rules(
        "layers: 1-, attention: {page_topk: {page: 4, budget: 16}}",
        "layers: 0, kv: {streaming: {sinks: 2, window: 14}}",
        "layers: 1, kv: {streaming: {sinks: 2, window: 14, heads: [1]}}",
        "layers: 2, kv: {h2o: {heavy: 19, recent: 9}}")),
    Model("whole-quest", policy=WHOLE_QUEST, lengths=(), checks=(("whole", "dense-f32"),)),
    Model("whole-quest-bf16", policy=WHOLE_QUEST, options=BF16, lengths=(), checks=(("whole", "dense-bf16"),)),
    Model("whole-streaming", policy=rules("layers: all, kv: {streaming: {sinks: 4, window: 508}}"), lengths=(),
          checks=(("whole", "dense-f32"),)),
    Model("whole-h2o", policy=rules("layers: all, kv: {h2o: {heavy: 256, recent: 256}}"), lengths=(),
          checks=(("whole", "dense-f32"),)),
)  # fmt: skip


# Three KV heads: the scaled variances of two are 0 and 1 in every layer.
THREE = LlamaConfig(layers=5, hidden=96, heads=12, kv_heads=3, head_dim=32, ffn=130, vocab=317, max_positions=512)
SHARED_BUDGETS = rules(
    "layers: 0-3, kv: {d2o: {budgets: variance, heavy: 30, recent: 13}}",
    "layers: 1, attention: {page_topk: {page: 4, budget: 24}}",
    "layers: 2, kv: {d2o: {budgets: variance, heavy: 30, recent: 13, mode: convex, merge_keys: false}}",
    "layers: 3, kv: {d2o: {budgets: variance, heavy: 22, recent: 9, heads: [0, 2]}, "
    "streaming: {sinks: 2, window: 30, heads: [1]}}",
)


# Tokens of the prompt, and decode steps: eight of them, four layers and ten models make 320 cases a method.
MERGING = ((1, 59), (3, 47), (17, 53), (18, 42), (40, 1), (50, 40), (75, 25), (100, 4))


def merging_models() -> list[Model]:
    """Random policies that merge, one in each layer."""
    cases = {f"{method}-{i}": merging_policies.MergingCase.draw(method, i) for method in merging_policies.METHODS for i in range(10)}
    shared = Model("merging-shared-budgets", THREE, options=(f"--page={merging_policies.PAGE}",), buckets="1,2,4,8",
                   lengths=MERGING, policy=SHARED_BUDGETS, checks=(("repeat",), ("batch",)))  # fmt: skip
    return [shared] + [
        Model(f"merging-{name}", case.config, options=(f"--page={merging_policies.PAGE}",), chunk=case.chunk, lengths=MERGING,
              policy=case.policy)
        for name, case in cases.items()
    ]  # fmt: skip


def pair_models(compiler: Path) -> list[Model]:
    """All legal pairs of policies, one in each layer."""
    command = [compiler, "list-policies", "--matrix", "--json"]
    matrix = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    groups = policy_pairs.in_groups(policy_pairs.legal_layers(matrix), PAIRS.layers)
    return [
        Model(f"pairs-{index}", PAIRS, options=(f"--page={policy_pairs.PAGE}",), chunk=16, lengths=(SHORT, (47, 40)),
              policy=rules(*(case.rules(layer) for layer, case in enumerate(group))))
        for index, group in enumerate(groups)
    ]  # fmt: skip


def test(name: str, kind: str, small: bool, **arguments: object) -> dict:
    """A test as run_suite.py reads it."""
    return {"name": name, "kind": kind, "small": small, "arguments": arguments}


class Maker:
    """Compiles models into the folder `out`/models and writes their references."""

    def __init__(self, compiler: Path, target: str, out: Path, scratch: Path) -> None:
        self.compiler, self.target, self.out, self.scratch = compiler.resolve(), target, out, scratch
        self._written: dict[LlamaConfig, dict] = {}
        (out / "models").mkdir(parents=True)

    def compile(self, model: Path, name: str, *options: object, beside_cpu: bool = False) -> str:
        """The artifact's path in the bundle."""
        path = f"models/{name}.spx"
        target = ("cpu," if beside_cpu else "") + f"cuda:{self.target}"
        command = [self.compiler, "compile", model, f"--target={target}", *options, "-o", self.out / path]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{name}: sparse-opt compile ended with {done.returncode}: {done.stderr.strip()}")
        return path

    def weights(self, config: LlamaConfig) -> dict:
        """Written in all forms, once."""
        if config not in self._written:
            self._written[config] = random_weights(config, 3)
            folder = self.folder(config)
            folder.mkdir(parents=True)
            files = {f"model.{name}.onnx": form(config) for name, form in FORMS.items()}
            write_llama(files, self._written[config], folder, None)
        return self._written[config]

    def folder(self, config: LlamaConfig) -> Path:
        return self.scratch / f"model-{list(self._written).index(config)}"

    def reference(self, model: Model, prompt: int, steps: int) -> tuple[dict[str, np.ndarray], float]:
        """What the model must answer, and how far its logits may be off."""
        weights = self.weights(model.config)
        ids = np.random.default_rng([prompt, steps]).integers(0, model.config.vocab, (1, prompt + steps), dtype=np.int64)
        if model.policy:
            policies = parse_policies(model.policy, model.config.layers, model.config.kv_heads)
            logits = Decoder(Network(model.config, weights), policies).run(ids[0], prompt, model.chunk)[None]
        else:
            logits = OrtDecoder(self.folder(model.config) / f"model.{model.form}.onnx", 1).run(ids)
        logits = logits.astype(np.float32)
        # bf16 and codes leave close calls: near, but not equal.
        is_close = model.bf16 or "quantize" in model.policy
        return {"ids": ids, "logits": logits}, 0.05 * float(logits.std()) if is_close else TOLERANCE

    def make(self, model: Model) -> Iterator[dict]:
        """Compiles a model; its tests."""
        self.weights(model.config)
        options = [*model.options, f"--prefill-chunk={model.chunk}", f"--buckets={model.buckets}"]
        if model.policy:
            policy = self.scratch / f"{model.name}.yaml"
            policy.write_text(model.policy)
            options.append(f"--policy={policy}")
        source = self.folder(model.config) / f"model.{model.form}.onnx"
        artifact = self.compile(source, model.name, *options, beside_cpu=model.beside_cpu)
        for index, (prompt, steps) in enumerate(model.lengths):
            answer, tolerance = self.reference(model, prompt, steps)
            path = f"models/{model.name}-{prompt}-{steps}.safetensors"
            save_file(answer, self.out / path)
            for device in model.devices:
                where = "" if device == "cuda" else f"-{device}"
                name = f"model/{model.name}{where}/{prompt}+{steps}"
                small = index == 0 and device == "cuda"
                yield test(name, "verify", small, artifact=artifact, reference=path, prefill=prompt, device=device,
                           atol=tolerance, rtol=tolerance)  # fmt: skip
        for check, *others in model.checks:
            artifacts = [artifact, *(f"models/{other}.spx" for other in others)]
            yield test(f"check/{model.name}/{check}", "check", False, check=check, artifacts=artifacts)

    def make_exported(self, folder: Path) -> Iterator[dict]:
        """A file of an exporter with its own reference; its tests."""
        name = f"exported-{folder.name}"
        artifact = self.compile(folder / "model.onnx", name, "--prefill-chunk=16", "--buckets=1")
        reference = load_file(folder / "ref.safetensors")
        path = f"models/{name}.safetensors"
        save_file({key: reference[key] for key in ("ids", "logits")}, self.out / path)
        for prompt in (1, 5, reference["ids"].shape[1] - 4):
            yield test(f"model/{name}/{prompt}", "verify", prompt == 5, artifact=artifact, reference=path, prefill=prompt,
                       device="cuda", atol=TOLERANCE, rtol=TOLERANCE)  # fmt: skip
