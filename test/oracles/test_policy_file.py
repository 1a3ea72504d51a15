"""Policy files become the policies they spell."""

import pytest
from oracles.h2o import H2O
from oracles.model import LayerPolicy
from oracles.page_topk import PageTopK
from oracles.policy_file import Size, parse_policies
from oracles.streaming import Streaming


def test_rules_ranges_and_heads() -> None:
    text = """
    version: 1
    rules:
      - layers: 1-
        attention: {page_topk: {page: 8, budget: 64, group: sum}}
      - {layers: 2, kv: {h2o: {heavy: 3, recent: 5, prefill: dense}}}
      - layers: 3-4
        kv:
          streaming: {sinks: 1, window: 7, heads: [0, 2]}
          h2o: {heavy: 1, recent: 2, heads: [1], prefill: chunked}
      - layers: 4
        attention: {page_topk: }
    """
    quest = PageTopK(page=8, budget=64, group="sum")
    by_head = {0: Streaming(1, 7), 2: Streaming(1, 7), 1: H2O(1, 2, "chunked")}
    assert parse_policies(text, 5, 4) == [
        LayerPolicy(),
        LayerPolicy(quest),
        LayerPolicy(quest, H2O(3, 5)),
        LayerPolicy(quest, kv_by_head=by_head),
        LayerPolicy(PageTopK(), kv_by_head=by_head),
    ]


def test_later_rules_and_heads_of_a_rule() -> None:
    text = """
    version: 1
    rules:
      - {kv: {h2o: {heavy: 1, recent: 1}}, attention: {page_topk: {}}}
      - {layers: '0,2-', kv: {dense: {}}}
      - {layers: 1, attention: {dense: {}}}
      - {layers: 3, heads: 1-, kv: {streaming: {window: 3}}}
      - {layers: 2, heads: all, kv: {streaming: {window: 3}}}
    """
    assert parse_policies(text, 4, 3) == [
        LayerPolicy(PageTopK()),
        LayerPolicy(None, H2O(1, 1)),
        LayerPolicy(PageTopK(), Streaming(4, 3)),
        LayerPolicy(PageTopK(), kv_by_head={1: Streaming(4, 3), 2: Streaming(4, 3)}),
    ]


def test_budgets_and_lists() -> None:
    text = """
    version: 1
    rules:
      - {layers: 0, attention: {page_topk: {page: 4, budget: 12.5%}}, kv: {h2o: {heavy: 33.3%, recent: 3KiB}}}
      - layers: 1
        kv:
          - h2o: {heavy: 3, recent: 3KiB, heads: 0}
          - h2o: {heavy: 1%, recent: 1, heads: 1-2}
          - streaming: {window: 1MiB, heads: 3}
    """
    assert parse_policies(text, 2, 4, Size(context=1000, slot_bytes=256)) == [
        LayerPolicy(PageTopK(page=4, budget=125), H2O(333, 3)),
        LayerPolicy(kv_by_head={0: H2O(3, 12), 1: H2O(10, 1), 2: H2O(10, 1), 3: Streaming(4, 4096)}),
    ]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("[{attention: {lsh: {}}}]", "page_topk expected"),
        ("[{kv: {h2o: {heavy: 1, recent: 1, prefill: tiled}}}]", "dense or chunked"),
        ("[{attention: {page_topk: {group: mean}}}]", "max or sum"),
        ("[{attention: {page_topk: {page: 8, budget: 7}}}]", "less than a page"),
        ("[{attention: {page_topk: {least: 16}}}]", "least needs over"),
        ("[{attention: {page_topk: {budget: 64, over: 63}}}]", "at least as many"),
        ("[{attention: {page_topk: {budget: 64, over: 100, least: 65}}}]", "at least as many"),
        ("[{layers: 2, attention: {page_topk: {}}}]", "no range within 0-1"),
        ("[{layers: 2-, attention: {page_topk: {}}}]", "no range within 0-1"),
        ("[{layers: 1-2, attention: {page_topk: {}}}]", "no range within 0-1"),
        ("[{kv: {streaming: {heads: 3}}}]", "no range within 0-2"),
        ("[{kv: {streaming: {heads: 1}, h2o: {}}}]", "one KV head"),
        ("[{kv: {streaming: {}, dense: {}}}]", "stands alone"),
        ("[{heads: 1, attention: {page_topk: {}}}]", "kv alone"),
        ("[{heads: 1, kv: {streaming: {heads: 1}}}]", "twice"),
        ("[{layer: 1}]", "unknown keys: layer"),
        ("[{kv: [{h2o: {}}, {h2o: {heads: 1}}]}]", "one KV head"),
        ("[{kv: [{quantize: {}}, {quantize: {}}]}]", "stores"),
        ("[{kv: {h2o: {heavy: 101%}}}]", "more than the context"),
        ("[{kv: {h2o: {heavy: 3MB}}}]", "no budget"),
    ],
)
def test_what_has_no_oracle_is_refused(rules: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_policies(f"{{version: 1, rules: {rules}}}", 2, 3)
