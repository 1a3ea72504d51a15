"""Makes `common` (the example models) and `oracles` importable from every test below."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "examples"), str(ROOT / "examples" / "tiny-llama"), str(ROOT / "test")]
