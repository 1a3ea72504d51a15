"""H2O with a quarter of 8K tokens takes a quarter of the memory, by the runtime's count and by the system's."""

from collections.abc import Iterator

from report import Check
from setup import Setup

PROMPT, NEW = 8128, 64
MOST = 0.27
LEAST_RETURNED = 0.95  # of what the pages shrank by must have left the resident memory


def run(setup: Setup) -> Iterator[Check]:
    ids = setup.write_ids(setup.ids[:PROMPT])
    dense, h2o = (setup.run("generate", artifact, "-p", ids, "-n", NEW) for artifact in ("dense", "h2o-2048"))
    ratio = h2o["cache"]["kv_bytes"] / dense["cache"]["kv_bytes"]
    figures = f"{h2o['cache']['kv_bytes'] / 1e6:.1f} of {dense['cache']['kv_bytes'] / 1e6:.1f} MB = {ratio:.3f}"
    yield Check(f"KV bytes, H2O 2048 at {PROMPT + NEW}", ratio <= MOST, figures)
    pages = dense["cache"]["page_bytes"] - h2o["cache"]["page_bytes"]
    resident = dense["rss_bytes"] - h2o["rss_bytes"]
    figures = (
        f"{h2o['rss_bytes'] / 1e6:.0f} against {dense['rss_bytes'] / 1e6:.0f} MB: {resident / 1e6:.1f} less, "
        f"pages {pages / 1e6:.1f} less"
    )
    yield Check(f"resident memory, H2O 2048 at {PROMPT + NEW}", resident >= LEAST_RETURNED * pages, figures)
