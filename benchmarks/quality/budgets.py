"""Every method at several budgets: the names of benchmarks/quality's device runs and their policy files."""

BUDGETS = (4096, 2048, 1024, 512)
METHODS = {
    "quest": "layers: 2-, attention: {{page_topk: {{page: 16, budget: {0}, sinks: 4}}}}",
    "streaming": "layers: all, kv: {{streaming: {{sinks: 4, window: {1}}}}}",
    "h2o": "layers: all, kv: {{h2o: {{heavy: {2}, recent: {2}}}}}",
    "cam": "layers: all, kv: {{h2o: {{heavy: {2}, recent: {2}}}, cam: {{}}}}",
    "d2o": "layers: all, kv: {{d2o: {{heavy: {2}, recent: {2}}}}}",
    "d2o-variance": "layers: all, kv: {{d2o: {{heavy: {2}, recent: {2}, budgets: variance}}}}",
}
OTHERS = {
    "quest-without-sinks-1024": "layers: 2-, attention: {page_topk: {page: 16, budget: 1024}}",
    "int8": "layers: all, kv: {quantize: {format: int8}}",
    "fp8": "layers: all, kv: {quantize: {format: fp8}}",
    "h2o-int8-1024": "layers: all, kv: {h2o: {heavy: 512, recent: 512}, quantize: {format: int8}}",
    "cam-step-1024": "layers: all, kv: {h2o: {heavy: 512, recent: 512}, cam: {attention: step}}",
    "cam-step-expectation-1024": "layers: all, kv: {h2o: {heavy: 512, recent: 512}, cam: {attention: step, mode: expectation}}",
    "cam-streaming-1024": "layers: all, kv: {streaming: {sinks: 4, window: 1020}, cam: {}}",
    "cam-step-streaming-1024": "layers: all, kv: {streaming: {sinks: 4, window: 1020}, cam: {attention: step}}",
    "d2o-values-1024": "layers: all, kv: {d2o: {heavy: 512, recent: 512, merge_keys: false}}",
}


def policies() -> dict[str, str]:
    """Policy text by name; empty for dense."""
    result = {"dense": ""}
    for method, rule in METHODS.items():
        for budget in BUDGETS:
            result[f"{method}-{budget}"] = _file(rule.format(budget, budget - 4, budget // 2))
    result["quest-int8-1024"] = _file(METHODS["quest"].format(1024), OTHERS["int8"])
    return result | {name: _file(rule) for name, rule in OTHERS.items()}


def _file(*rules: str) -> str:
    return "version: 1\nrules:\n" + "".join(f"  - {{{rule}}}\n" for rule in rules)
