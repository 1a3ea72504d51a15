"""Results of checks: a line each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """What was checked, whether it holds, and the figures behind it."""

    name: str
    passed: bool
    figures: str

    def __str__(self) -> str:
        return f"{'pass' if self.passed else 'FAIL'}  {self.name:<40} {self.figures}"
