"""The model card of an adapter. Knows the recipe, no numbers: those are in the report beside it."""

from pathlib import Path

from pbranch.bases import SHIPPED
from pbranch.recipe import dump_recipe
from ptrain.config import Recipe

CARD = """---
{base}library_name: peft
pipeline_tag: text-generation
tags: [parallel-branches, lora]
---
# Parallel branches for {name}

A LoRA adapter that teaches `{name}` to mark steps that do not need one another, so that they can be
decoded side by side in one sequence. Made by `ptrain sft` of
parallel-branches.

## Use

```
pip install parallel-branches
pinfer generate --model {name} --adapter THIS_FOLDER "your question"
```

Only `pinfer` decodes branches in parallel. The plain `generate` of any other library derails after
the outline: what opens a branch and what follows the last one is put in by the engine and was never
a target in training, and a branch was trained not to see its siblings.

`branch_config.json` holds the markers, their ids and the layout; `train_report.json` the losses.

## Recipe

```yaml
{recipe}```
"""


def model_card(recipe: Recipe, base: str) -> str:
    """README.md of an adapter folder."""
    is_hub_id = base != SHIPPED and not Path(base).exists()
    return CARD.format(
        base=f"base_model: {base}\n" if is_hub_id else "",
        name=base,
        recipe=dump_recipe(recipe),
    )
