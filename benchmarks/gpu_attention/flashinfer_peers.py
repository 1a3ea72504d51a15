"""A peer, not yet run: the Quest step with scores and selection by Triton, attention by FlashInfer's paged decode.

A list is a sequence of one KV head whose pages are those selected. FlashInfer plans once, outside the graph; the kernels of the
step write the page numbers that it reads.
"""

import torch
from quest_triton import TritonStep, tilings

WORKSPACE = 128 << 20


def choices(case) -> dict[str, list]:
    """Those of the Triton kernels that run here, and whether FlashInfer uses tensor cores."""
    own = tilings(case)
    selections = [choice for choice in own["select"] if choice[1]]
    return {"attend": ["cuda cores", "tensor cores"], "score": own["score"], "select": selections, "trigger": [0]}


class FlashInferStep(TritonStep):
    def __init__(self, case, choice: dict) -> None:
        if case.key_dim != case.value_dim:
            raise NotImplementedError("keys and values of different widths")
        tensor_cores = choice["attend"] == "tensor cores"
        super().__init__(case, choice | {"attend": (case.budget,)})
        import flashinfer

        workspace = torch.empty(WORKSPACE, dtype=torch.uint8, device="cuda")
        self.wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(
            workspace,
            "NHD",
            use_cuda_graph=True,
            use_tensor_cores=tensor_cores,
            paged_kv_indptr_buffer=torch.empty(self.lists + 1, dtype=torch.int32, device="cuda"),
            paged_kv_indices_buffer=self.physical.view(-1),
            paged_kv_last_page_len_buffer=torch.empty(self.lists, dtype=torch.int32, device="cuda"),
        )
        self.wrapper.plan(
            torch.arange(self.lists + 1, dtype=torch.int32) * case.budget,
            torch.zeros(self.lists * case.budget, dtype=torch.int32, device="cuda"),
            torch.full((self.lists,), case.page, dtype=torch.int32),
            self.group,
            1,
            case.key_dim,
            case.page,
            q_data_type=torch.bfloat16,
            kv_data_type=torch.bfloat16,
            sm_scale=case.scale,
        )

    def run(self, x) -> None:
        self.score(x)
        self.select(x)
        query, out = (tensor.view(self.lists, self.group, -1) for tensor in (x.query, self.out))
        self.wrapper.run(query, (x.keys.unsqueeze(2), x.values.unsqueeze(2)), out=out)
