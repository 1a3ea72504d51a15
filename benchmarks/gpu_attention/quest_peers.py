"""Runs the peers beside our kernels: on the same sets of inputs, checked before and after they are timed."""

from collections.abc import Callable, Sequence

from dense_peers import BACKENDS, dense_peer
from graph_times import graph_times
from peer_choices import need, tune
from quest_step import Inputs, Reference


class QuestPeers:
    """Steps over the sets of a case. The first and the last set are checked, the last once more after the replays."""

    def __init__(self, case, sets: list, least_steps: int) -> None:
        self.case, self.inputs = case, [Inputs(case, one) for one in sets]
        self.references = [Reference(case, x) for x in (self.inputs[0], self.inputs[-1])]
        self.repeat = max(1, -(-least_steps // len(sets)))

    def measure(self, step) -> dict:
        errors = []
        for x, reference in zip((self.inputs[0], self.inputs[-1]), self.references, strict=True):
            step.poison()
            step.run(x)
            errors.append(reference.error(step.pages, step.out))

        def work() -> None:
            for _ in range(self.repeat):
                for x in self.inputs:
                    step.run(x)

        us = graph_times(work, self.repeat * len(self.inputs))
        errors.append(self.references[-1].error(step.pages, step.out))
        return {"us": us, "error": max(errors)}

    def triton(self, own_selection: bool) -> dict:
        need("triton")
        from quest_triton import TritonStep, tilings

        return tune(tilings(self.case, own_selection), lambda choice: self.measure(TritonStep(self.case, choice)))

    def compiled(self) -> dict:
        from quest_compile import CompiledStep, forms

        return tune(forms(self.inputs), lambda choice: self.measure(CompiledStep(self.case, choice)))

    def flashinfer(self) -> dict:
        need("flashinfer")
        from flashinfer_peers import FlashInferStep, choices

        return tune(choices(self.case), lambda choice: self.measure(FlashInferStep(self.case, choice)))


def measures(case, sets: list, names: Sequence[str], least_steps: int) -> dict[str, Callable[[], dict]]:
    """What measures each peer with one of the names (dense, compile, triton, flashinfer), by what its row is called."""
    found: dict[str, Callable[[], dict]] = {}
    if "dense" in names:
        found |= {f"dense {backend}": lambda b=backend: dense_peer(case, b, least_steps) for backend in BACKENDS}
    if not case.selection:
        return found
    quest = lambda: QuestPeers(case, sets, least_steps)  # noqa: E731
    if "compile" in names:
        found["quest torch.compile"] = lambda: quest().compiled()
    if "triton" in names:
        found["quest triton, torch.topk"] = lambda: quest().triton(own_selection=False)
        found["quest triton"] = lambda: quest().triton(own_selection=True)
    if "flashinfer" in names:
        found["quest flashinfer"] = lambda: quest().flashinfer()
    return found
