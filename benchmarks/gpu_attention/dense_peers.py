"""Peers of dense attention: PyTorch's own kernels over a dense cache of a case's shape."""

import torch
import torch.nn.functional as functional
from graph_times import graph_times
from torch.nn.attention import SDPBackend, sdpa_kernel

BACKENDS = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION}


def dense_peer(case, backend: str, least_steps: int) -> dict:
    length = case.max_pages * case.page
    per_set = case.rows * case.kv_heads * length * (case.key_dim + case.value_dim) * 2
    count = max(2, -(-4 * torch.cuda.get_device_properties(0).L2_cache_size // per_set))
    query = torch.randn(case.rows, case.heads, 1, case.key_dim, device="cuda", dtype=torch.bfloat16)
    shape = (case.rows, case.kv_heads, length)
    random = lambda dim: torch.randn(*shape, dim, device="cuda", dtype=torch.bfloat16)  # noqa: E731
    sets = [(random(case.key_dim), random(case.value_dim)) for _ in range(count)]
    repeat = max(1, -(-least_steps // count))

    def attend(key: torch.Tensor, value: torch.Tensor) -> None:
        functional.scaled_dot_product_attention(query, key, value, enable_gqa=case.heads != case.kv_heads)

    def work() -> None:
        for _ in range(repeat):
            for key, value in sets:
                attend(key, value)

    with sdpa_kernel(BACKENDS[backend]):
        attend(*sets[0])
        return {"us": graph_times(work, repeat * count)}
