"""Times of CUDA graphs, ours and PyTorch's, in turns; and what the card can do at most."""

from collections.abc import Callable

import torch
from gpu_parts import Spread

ROUNDS, WARM = 25, 3


def l2_bytes() -> int:
    return torch.cuda.get_device_properties(0).L2_cache_size


def torch_milliseconds(work: Callable[[], object]) -> float:
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    work()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop)


def torch_replay(work: Callable[[], object]) -> Callable[[], float]:
    """Captures what PyTorch does in `work`; a function that replays it and returns the milliseconds."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        work()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return lambda: torch_milliseconds(graph.replay)


def plan_replay(device, launches: list) -> Callable[[], float]:
    """Captures launches of a plan; a function that replays them and returns the milliseconds."""

    def run_all() -> None:
        for launch in launches:
            launch(device.stream)

    graph = device.capture(run_all)
    return lambda: device.time(lambda: device.launch_graph(graph))


def in_turns(
    replays: dict[str, Callable[[], float]], before: dict[str, Callable[[], None]] | None = None, rounds: int = ROUNDS
) -> dict[str, list[float]]:
    """Milliseconds of every replay in every round; `before` runs ahead of a replay and is not measured."""
    taken: dict[str, list[float]] = {name: [] for name in replays}
    for turn in range(WARM + rounds):
        for name, replay in replays.items():
            if before and name in before:
                before[name]()
            torch.cuda.synchronize()
            milliseconds = replay()
            if turn >= WARM:
                taken[name].append(milliseconds)
    return taken


def memory_limits() -> dict:
    """Bytes a second of reading 2 GiB, the better of two ways, and of copying 2 GiB (read and written)."""
    data = torch.ones(1 << 30, device="cuda", dtype=torch.bfloat16)
    other = torch.empty_like(data)
    words = data.view(torch.int32)
    taken = in_turns(
        {
            "sum": lambda: torch_milliseconds(data.sum),
            "max": lambda: torch_milliseconds(words.max),
            "copy": lambda: torch_milliseconds(lambda: other.copy_(data)),
        }
    )
    spreads = {name: Spread.of(values) for name, values in taken.items()}
    way = min(("sum", "max"), key=lambda name: spreads[name].median)
    rate = lambda name, count: count * data.nbytes / spreads[name].median * 1000  # noqa: E731
    return {"read": rate(way, 1), "way": f"torch {way}", "copy": rate("copy", 2)}


def memory_note(limits: dict) -> str:
    return (
        f"The limit is this card's own read of 2 GiB ({limits['way']}, median of {ROUNDS}) in the same process: "
        f"{limits['read'] / 1e12:.2f} TB/s; a copy moves {limits['copy'] / 1e12:.2f} TB/s. PyTorch {torch.__version__}."
    )


def matmul_note(limit: float) -> str:
    return (
        "The limit is this card's own bf16 product of 8192 x 8192 matrices in the same process: "
        f"{limit / 1e12:.0f} TFLOP/s. PyTorch {torch.__version__}."
    )


def matmul_limit() -> float:
    """Operations a second of a bf16 product of 8192 x 8192 matrices."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in "ab")
    taken = in_turns({"matmul": lambda: torch_milliseconds(lambda: a @ b)})["matmul"]
    return 2 * 8192**3 / Spread.of(taken).median * 1000
