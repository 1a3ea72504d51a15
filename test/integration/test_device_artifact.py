"""Artifacts for a GPU, which need none to be made."""

import dataclasses
import json
from collections.abc import Callable

import pytest
from road import GQA2

QUEST = "{page_topk: {page: 16, budget: 64}}"


@pytest.mark.parametrize("per_head", [False, True])
def test_fields_lie_by_channel_where_each_query_head_selects(tiny: Callable, compiled: Callable, per_head: bool) -> None:
    config = dataclasses.replace(GQA2, kv_heads=GQA2.heads) if per_head else GQA2
    policy = f"version: 1\nrules:\n  - layers: all\n    attention: {QUEST}\n"
    artifact = compiled(tiny(config, 3), "--target=cuda:sm_90a", policy=policy, chunk=16)
    layer = json.loads((artifact / "manifest.json").read_text())["devices"]["cuda"]["cache"]["layers"][0]
    fields = {component["name"]: component for component in layer["components"]}
    field, pages, channels = fields["page_max"], layer["max_pages"], config.head_dim
    if per_head:
        assert field["axis"] == 2 and field["shape"] == [config.kv_heads, channels, pages]
    else:
        assert "axis" not in field and field["shape"] == [config.kv_heads, pages, channels]
