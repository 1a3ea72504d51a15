"""H2O with a quarter of 8K tokens takes a quarter of the memory, with codes of eight bits an eighth, by the runtime's count and
by the system's."""

from collections.abc import Iterator

from report import Check
from setup import Setup

PROMPT, NEW = 8128, 64
# The artifact, what it is compared with, the most that it may take of its KV bytes, and what part of the pages that it saves must
# have left the resident memory: scores and mass take the same few MB of both, which is more of small pages.
PAIRS = (("h2o-2048", "dense", 0.27, 0.95), ("h2o-2048-int8", "dense-bf16", 0.15, 0.9))


def run(setup: Setup) -> Iterator[Check]:
    ids = setup.write_ids(setup.ids[:PROMPT])
    for name, other, most, least_returned in PAIRS:
        ours, dense = (setup.run("generate", artifact, "-p", ids, "-n", NEW) for artifact in (name, other))
        ratio = ours["cache"]["kv_bytes"] / dense["cache"]["kv_bytes"]
        figures = f"{ours['cache']['kv_bytes'] / 1e6:.1f} of {dense['cache']['kv_bytes'] / 1e6:.1f} MB = {ratio:.3f}"
        yield Check(f"KV bytes, {name} at {PROMPT + NEW}", ratio <= most, figures)
        pages = dense["cache"]["page_bytes"] - ours["cache"]["page_bytes"]
        resident = dense["rss_bytes"] - ours["rss_bytes"]
        figures = (
            f"{ours['rss_bytes'] / 1e6:.0f} against {dense['rss_bytes'] / 1e6:.0f} MB: {resident / 1e6:.1f} less, "
            f"pages {pages / 1e6:.1f} less"
        )
        yield Check(f"resident memory, {name} at {PROMPT + NEW}", resident >= least_returned * pages, figures)
