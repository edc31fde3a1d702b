"""The tiny base as a model: its configuration, and the folder that users load, with its card.

Weights are stored in bfloat16 and named float32 in the configuration: computed in float32.
`python -m ptrain.pretrain.model FOLDER` writes the card again, with the scores of `scores.json`.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from pbranch.files.atomic import write_text
from pbranch.files.recipe import dump_recipe
from ptrain.pretrain.config import ModelSection, PretrainRecipe

CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags: [parallel-branches]
---
# Tiny base of parallel-branches

A Qwen3 decoder of {parameters:,} parameters, trained from scratch on synthetic linear traces
(`pdata synth recall`): which record fits, sums, cases, chains. It can do these tasks and nothing
else, and knows no markers: `recipes/sft.yaml` teaches it those. Asked for the marks of
`--dialect paper` in one of four wordings (`pdata.synthetic.marked_answers`), it writes them. Stored
in bfloat16, computed in float32.

## Training

{tokens:,} tokens ({traces:,} traces, {steps:,} steps{origin}) in {seconds:,.0f} s on {device}
(torch {torch}); loss of the last steps {loss}, completions only.

```yaml
{recipe}```

## Scores

{scores}
"""


def build_config(shape: ModelSection, tokenizer: PreTrainedTokenizerFast) -> Qwen3Config:
    """The Qwen3 configuration; rows of the embedding are a multiple of 64."""
    return Qwen3Config(
        vocab_size=64 * math.ceil((len(tokenizer) + shape.reserved_tokens) / 64),
        hidden_size=shape.hidden,
        intermediate_size=shape.ffn,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        max_position_embeddings=shape.context,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=True,
        use_cache=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def save_base(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    out: Path,
    recipe: PretrainRecipe,
    facts: dict[str, Any],
) -> None:
    """Write weights, configurations, tokenizer, recipe, `training.json` (`facts`) and the card."""
    weights = {
        name: tensor.detach().to("cpu", torch.bfloat16).contiguous()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"  # tied to the embedding
    }
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)  # safetensors makes it readable to its owner alone
    config = Qwen3Config.from_dict(model.config.to_dict())
    config.architectures = ["Qwen3ForCausalLM"]
    config.dtype = "float32"
    config.save_pretrained(out)
    ends = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    asks = {"paper_instruction": recipe.instruction} if recipe.instruction else {}
    GenerationConfig(
        eos_token_id=ends, pad_token_id=tokenizer.pad_token_id, do_sample=False, **asks
    ).save_pretrained(out)
    tokenizer.save_pretrained(out)
    write_text(out / "recipe.yaml", dump_recipe(recipe))
    write_text(out / "training.json", json.dumps(facts, indent=1) + "\n")
    write_card(out)


def write_card(out: Path) -> None:
    """README.md of `out`, from its recipe.yaml, training.json and, where there is one, scores.json.

    scores.json: {task: {score: number}}.
    """
    facts = json.loads((out / "training.json").read_text(encoding="utf-8"))
    recipe = (out / "recipe.yaml").read_text(encoding="utf-8")
    path = out / "scores.json"
    scores = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    origin = f", from the weights of `{facts['start']}`" if facts.get("start") else ""
    card = CARD.format(recipe=recipe, scores=_write_table(scores), origin=origin, **facts)
    write_text(out / "README.md", card)


def _write_table(scores: dict[str, dict[str, float]]) -> str:
    if not scores:
        return "Not measured yet."
    columns = list(dict.fromkeys(name for row in scores.values() for name in row))
    lines = [f"| task | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for task, row in scores.items():
        lines.append(f"| {task} | {' | '.join(str(row.get(name, '')) for name in columns)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    write_card(Path(sys.argv[1]))
