"""Writes random policy files, lets `sparse-opt` apply them, and reads both the file and the text that the compiler
keeps with the oracles' reader: they must be the same policies. Files that one refuses must be refused by both."""

import random
import re
import subprocess
import sys
from pathlib import Path

tool, model, folder, layers, kv_heads = sys.argv[1], sys.argv[2], Path(sys.argv[3]), 3, 2
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from oracles.policy_file import parse_policies  # noqa: E402


def compiled(text: str) -> str | None:
    """The policy as the compiler applied it; nothing when it refused."""
    file = folder / "policy.yaml"
    file.write_text(text)
    run = subprocess.run([tool, model, f"--sparse-mark=policy-file={file}"], capture_output=True, text=True)
    if run.returncode:
        assert "error:" in run.stderr, run.stderr
        return None
    kept = re.search(r'sparsity\.policy = "((?:[^"\\]|\\.)*)"', run.stdout)
    assert kept, run.stdout
    # A dense model keeps no text.
    return re.sub(r"\\([0-9A-F]{2})", lambda byte: chr(int(byte[1], 16)), kept[1]) or "version: 1"


def pick_range(rng: random.Random, count: int) -> str:
    first = rng.randrange(count)
    return rng.choice(
        ["all", str(first), f"{first}-", f"{first}-{rng.randrange(first, count)}", f"'0,{first}-'", f"[0, {first}]"]
    )


def pick_rule(rng: random.Random) -> str:
    page, pages = rng.choice([4, 16]), rng.randrange(2, 9)
    group = rng.choice(["max", "sum"])
    heavy, recent, window = rng.randrange(9), rng.randrange(1, 9), rng.randrange(1, 99)
    attention = rng.choice(
        [
            "dense: {}",
            "page_topk: ",
            f"page_topk: {{page: {page}, budget: {recent}%}}",
            f"page_topk: {{page: {page}, budget: {page * pages}, group: {group}}}",
            f"page_topk: {{page: {page}, budget: {recent}%, over: {recent + heavy}%, least: {page}}}",
        ]
    )
    kv = rng.choice(
        [
            "dense: ",
            f"h2o: {{heavy: {heavy}, recent: {recent}}}",
            f"streaming: {{window: {window}, heads: {pick_range(rng, kv_heads)}}}",
            "h2o: {heads: 0}",
            "streaming: {}",
            f"d2o: {{heavy: {heavy + 4}, merge_keys: false, alpha: 0.{recent}, beta: 1, "
            f"heads: {pick_range(rng, kv_heads)}}}",
            f"h2o: {{recent: {recent}, prefill: chunked}}, cam: {{followers: {recent}, mode: expectation}}",
            "streaming: {heads: 0}, h2o: {heads: 1, prefill: chunked}, "
            f"cam: {{seed: {heavy}, heads: {pick_range(rng, kv_heads)}}}",
            f"h2o: {{heavy: {heavy}%, recent: {recent}KiB, heads: {pick_range(rng, kv_heads)}}}",
            f"[{{h2o: {{heavy: {heavy}, heads: 0}}}}, {{h2o: {{recent: {window}.5%, heads: 1}}, cam: {{}}}}]",
        ]
    )
    keys = [f"layers: {pick_range(rng, layers)}"]
    if rng.random() < 0.6:
        keys.append(f"attention: {{{attention}}}")
    if rng.random() < 0.6 or len(keys) == 1:
        keys.append(f"kv: {kv}" if kv.startswith("[") else f"kv: {{{kv}}}")
    return f"  - {{{', '.join(keys)}}}\n"


def main() -> None:
    rng = random.Random(3)
    for _ in range(60):
        text = "version: 1\nrules:\n" + "".join(pick_rule(rng) for _ in range(rng.randrange(1, 6)))
        kept = compiled(text)
        assert kept is not None, f"refused:\n{text}"
        ours, theirs = (parse_policies(t, layers, kv_heads) for t in (kept, text))
        assert ours == theirs, f"{text}\nbecame\n{kept}"
    refused = [
        "version: 2",
        "rules: []",
        "{version: 1, rules: [{layers: 3, kv: {h2o: {}}}]}",
        "{version: 1, rules: [{layers: 3-, kv: {h2o: {}}}]}",
        "{version: 1, rules: [{kv: {h2o: {heads: 2}}}]}",
        "{version: 1, rules: [{heads: 1, attention: {page_topk: {}}}]}",
        "{version: 1, rules: [{kv: {h2o: {}, streaming: {heads: 0}}}]}",
        "{version: 1, rules: [{kv: {h2o: {}, dense: {}}}]}",
        "{version: 1, rules: [{attention: {page_topk: {page: 8, budget: 4}}}]}",
        "{version: 1, rules: [{attention: {page_topk: {group: mean}}}]}",
        "{version: 1, rules: [{layer: 1, kv: {h2o: {}}}]}",
        "{version: 1, rules: [{kv: {cam: {}}}]}",
        "{version: 1, rules: [{kv: {d2o: {heavy: 3}}}]}",
        "{version: 1, rules: [{kv: {d2o: {}, h2o: {heads: 0}}}]}",
        "{version: 1, rules: [{kv: {d2o: {}, cam: {}}}]}",
        "{version: 1, rules: [{kv: {h2o: {heads: 0}, cam: {heads: 1}}}]}",
        "{version: 1, rules: [{kv: {h2o: {}, cam: {mode: often}}}]}",
        "{version: 1, rules: [{kv: {h2o: {heavy: 101%}}}]}",
        "{version: 1, rules: [{kv: {h2o: {heavy: 5MB}}}]}",
        "{version: 1, rules: [{kv: {streaming: {window: 0.001%}}}]}",
        "{version: 1, rules: [{kv: [{h2o: {heads: 0}}, {h2o: {}}]}]}",
    ]
    for text in refused:
        assert compiled(text) is None, text
        try:
            parse_policies(text, layers, kv_heads)
        except ValueError:
            continue
        raise AssertionError(f"the oracles read {text}")
    print("60 policies agree,", len(refused), "are refused by both")


main()
