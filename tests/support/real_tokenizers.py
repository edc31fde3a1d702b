"""Small tokenizers made of real ones by tests/tokenizers/shrink.py."""

from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "tokenizers"
REAL_TOKENIZERS = ("smollm2", "qwen2.5")  # the second has a gap below its added tokens


def real_tokenizer(name: str) -> Any:
    """A new one, which a test may change."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(FOLDER / name)
