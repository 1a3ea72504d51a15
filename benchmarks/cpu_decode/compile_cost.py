"""Time and memory of `sparse-opt compile`, a process of its own each time."""

import os
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

MOST_SECONDS, AIM_SECONDS, MOST_MEMORY = 60, 20, 2  # memory over the weights


@dataclass(frozen=True)
class CompileCost:
    """Wall-clock seconds of each run, processor seconds of the median, peak resident bytes, bytes of the weights."""

    seconds: list[float]
    processor: float
    peak_bytes: int
    weights_bytes: int

    def lines(self) -> str:
        median = statistics.median(self.seconds)
        spread = f"{median:.1f} s ({min(self.seconds):.1f}-{max(self.seconds):.1f})"
        memory = self.peak_bytes / self.weights_bytes
        return (
            f"| compile | {spread}, {self.processor:.1f} s of processor | - | - | {MOST_SECONDS} s | {AIM_SECONDS} s | "
            f"{'yes' if median <= MOST_SECONDS else '**no**'} |\n"
            f"| compile, peak memory | {self.peak_bytes / 1e6:.0f} MB | {self.weights_bytes / 1e6:.0f} MB (weights) | "
            f"{memory:.2f} | {MOST_MEMORY} | - | {'yes' if memory <= MOST_MEMORY else '**no**'} |"
        )


def measure_compile(artifacts, models: Path, rounds: int) -> CompileCost:
    """Compiles the dense f32 artifact with its defaults."""
    path = artifacts.get("dense")
    seconds, processor, peak = [], [], 0
    for _ in range(rounds):
        start = time.perf_counter()
        process = subprocess.Popen(artifacts.command("dense"), cwd=path.parent, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds.append(time.perf_counter() - start)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"sparse-opt compile ended with {process.returncode}")
        processor.append(usage.ru_utime + usage.ru_stime)
        peak = max(peak, usage.ru_maxrss * 1024)
    return CompileCost(seconds, statistics.median(processor), peak, (models / "model.onnx.data").stat().st_size)
