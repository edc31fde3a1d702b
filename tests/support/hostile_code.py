"""Model folders that bring Python code of their own, which leaves a mark where it is run."""

import json
from pathlib import Path
from typing import Any

import torch

_CODE = """
import pathlib
pathlib.Path({mark!r}).touch()
from transformers import PretrainedConfig, PreTrainedTokenizerFast, Qwen3ForCausalLM
class Config(PretrainedConfig):
    model_type = "hostile"
class Model(Qwen3ForCausalLM):
    pass
class Tokenizer(PreTrainedTokenizerFast):
    pass
def generate(*args, **kwargs):
    pass
"""
MODEL_NAMES = {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}
HOSTILE_CONFIG = {"model_type": "hostile", "architectures": ["Model"], "auto_map": MODEL_NAMES}
HOSTILE_TOKENIZER = {
    "tokenizer_class": "Tokenizer", "auto_map": {"AutoTokenizer": [None, "code.Tokenizer"]},
}  # fmt: skip


def write_code(path: Path, mark: Path) -> None:
    """A Python file that makes the file `mark` once it is run."""
    path.write_text(_CODE.format(mark=str(mark)))


class _Touch:
    """Makes a file once it is read from a pickle."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def pickle_code(path: Path, mark: Path) -> None:
    """Weights of torch's old kind that make the file `mark` where they are read as a pickle."""
    torch.save({"weight": _Touch(mark)}, path)


def edit_json(path: Path, **changes: Any) -> None:
    """Change keys of a JSON object, which need not exist."""
    stored = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(stored | changes))
