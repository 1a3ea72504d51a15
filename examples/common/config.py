"""The shape of a Llama decoder."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

FILE = "llama.json"


@dataclass(frozen=True)
class LlamaConfig:
    """Every figure of a Llama decoder that its graph depends on."""

    layers: int = 2
    hidden: int = 64
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    ffn: int = 128
    vocab: int = 320
    max_positions: int = 8192
    rope_theta: float = 1e4
    norm_epsilon: float = 1e-5
    tied: bool = False

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} query heads do not divide into {self.kv_heads} KV heads")
        if self.head_dim % 2:
            raise ValueError(f"rotary embedding needs an even head dimension, not {self.head_dim}")

    @property
    def q_width(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        return self.kv_heads * self.head_dim

    def save(self, directory: Path) -> Path:
        """Writes llama.json beside the models of a folder."""
        path = directory / FILE
        path.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")
        return path

    @staticmethod
    def load(directory: Path) -> "LlamaConfig":
        return LlamaConfig(**json.loads((directory / FILE).read_text()))
