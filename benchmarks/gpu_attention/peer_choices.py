"""What a peer's row holds: the best of a few choices, each measured alone, and those that failed. Needs nothing but Python."""

import importlib.util
from collections.abc import Callable

Times = tuple[float, float, float]  # microseconds of a step: median, least, greatest


class Skip(Exception):
    """The peer is not for this case, or not on this machine; the text says why."""


def need(package: str) -> None:
    """Skips the peer whose package is not installed."""
    if importlib.util.find_spec(package) is None:
        raise Skip(f"no package {package}")


def tune(choices: dict[str, list], measure: Callable[[dict], dict]) -> dict:
    """The best row of `measure` over `choices`: one dimension after the other, the others as found best so far.

    An error costs its choice only. A row has `us`; it comes back with the choice, how many were tried and what failed.
    """
    best = {name: values[0] for name, values in choices.items()}
    rows: dict[tuple, dict | None] = {}
    failures: list[str] = []

    def row(choice: dict) -> dict | None:
        key = tuple(choice.values())
        if key not in rows:
            try:
                rows[key] = measure(choice)
            except Skip:
                raise
            except Exception as error:  # whatever it is, it belongs into the report
                rows[key] = None
                first = (str(error).splitlines() or [""])[0]
                failures.append(f"{describe(choice)}: {type(error).__name__}: {first[:200]}")
        return rows[key]

    def median(choice: dict) -> float:
        found = row(choice)
        return found["us"][0] if found else float("inf")

    for name, values in choices.items():
        # The least, and of equals the first: what was best stays best.
        best = min([best] + [best | {name: value} for value in values], key=median)
    found = row(best)
    if found is None:
        raise RuntimeError("; ".join(failures))
    return found | {"choice": best, "tried": len(rows), "failures": failures}


def attempt(measure: Callable[[], dict], ours: Times) -> dict:
    """A peer's row with the ratio of our median to its own; or why there is none."""
    try:
        row = measure()
    except Skip as skip:
        return {"skipped": str(skip)}
    except Exception as error:  # one peer's failure is not the others'
        return {"failed": f"{type(error).__name__}: {error}"}
    return row | {"ours_over_peer": ours[0] / row["us"][0]}


def describe(choice: dict) -> str:
    words = (f"{name} {'x'.join(map(str, value)) if isinstance(value, tuple) else value}" for name, value in choice.items())
    return ", ".join(words)


def line(name: str, row: dict) -> str:
    """A peer's row for people."""
    for word in ("skipped", "failed"):
        if word in row:
            return f"    {name:24} {word}: {row[word]}"
    median, least, greatest = row["us"]
    text = f"    {name:24} {median:8.2f} us ({least:.2f}-{greatest:.2f})  ours/peer {row['ours_over_peer']:.2f}"
    if "error" in row:
        text += f"  error {row['error']:.1e}"
    if row.get("tried", 1) > 1:
        text += f"  best of {row['tried']}: {describe(row['choice'])}"
    if row.get("failures"):
        text += f"  ({len(row['failures'])} failed)"
    return text
