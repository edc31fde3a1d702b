"""Where a model that is written stops: at the end of a turn as its chat template writes it.

A base may only know the end of a text. Decoders other than `pinfer` read no template for that.
"""

from typing import Any

from pbranch.hf.prompt import turn_end_id


def stop_at_turn_end(model: Any, tokenizer: Any) -> None:
    """Add the token that ends a turn to those at which `generate` stops; the others stay."""
    end = turn_end_id(tokenizer)
    for config in (model.config.get_text_config(), model.generation_config):
        if config is not None:
            config.eos_token_id = _with(config.eos_token_id, end)


def _with(ids: int | list[int] | None, end: int) -> int | list[int]:
    if ids is None or ids == end:
        return end
    known = ids if isinstance(ids, list) else [ids]
    return known if end in known else [*known, end]
