"""Times of PyTorch's work in a CUDA graph."""

import statistics
from collections.abc import Callable

import torch

REPLAYS, WARM = 25, 3


def graph_times(work: Callable[[], object], steps: int) -> tuple[float, float, float]:
    """Microseconds of one of the `steps` that `work` does: median, least, greatest. `work` ran before: nothing compiles now."""
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    taken = []
    for _ in range(WARM + REPLAYS):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        stop.record()
        stop.synchronize()
        taken.append(start.elapsed_time(stop) * 1000 / steps)
    return statistics.median(taken[WARM:]), min(taken[WARM:]), max(taken[WARM:])
