"""What a model's generation_config.json says about sampling: what is taken, what cannot be.

`transformers.generate` and others follow that file, so answers differ where it is passed over.
"""

import logging
from collections.abc import Mapping
from typing import Any

from pbranch.errors import RequestError
from pinfer.model_spec import NEUTRAL
from pinfer.params import SamplingParams

# what would change tokens and is not done here, with the values by which it changes nothing
_NOT_DONE: Mapping[str, tuple[Any, ...]] = {
    "no_repeat_ngram_size": (0,),
    "bad_words_ids": ((),),
    "sequence_bias": ({},),
    "begin_suppress_tokens": ((),),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "exponential_decay_length_penalty": (),
    "stop_strings": ("", ()),
    "encoder_repetition_penalty": (1.0,),
    "encoder_no_repeat_ngram_size": (0,),
    "typical_p": (1.0,),
    "epsilon_cutoff": (0.0,),
    "eta_cutoff": (0.0,),
    "top_h": (),
    "guidance_scale": (1.0,),
    "watermarking_config": (),
    "penalty_alpha": (0.0,),
    "dola_layers": (),
    "constraints": ((),),
    "force_words_ids": ((),),
    "num_beams": (1,),
    "token_healing": (False,),
}
_FILE = "generation_config.json"
log = logging.getLogger("pinfer")


def read_sampling(config: Any) -> dict[str, Any]:
    """Values for `ModelSpec.sampling`, from transformers' GenerationConfig; one that is out of its
    range is left out. What that means for answers is logged in one line."""
    found: dict[str, Any] = {}
    bad = []
    for name in (*NEUTRAL, "temperature"):
        value = getattr(config, name, None)
        if value is None:
            continue
        value = tuple(value) if isinstance(value, list) else value
        given: dict[str, Any] = {name: value}
        try:
            SamplingParams(**given)
        except (RequestError, TypeError) as e:
            bad.append(f"{name} {value!r}" if isinstance(e, TypeError) else str(e))
        else:
            found[name] = value
    temperature = found.pop("temperature", None)
    found = {name: value for name, value in found.items() if value != NEUTRAL[name]}
    if said := _describe(config, found, temperature, bad):
        log.warning("%s: %s", _FILE, "; ".join(said))
    return found


def _describe(
    config: Any, found: Mapping[str, Any], temperature: float | None, bad: list[str]
) -> list[str]:
    always = {k: v for k, v in found.items() if k in ("repetition_penalty", "suppress_tokens")}
    drawn = {k: v for k, v in found.items() if k not in always}
    said = []
    if always:
        said.append(f"{_list(always)} by default")
    if drawn:
        said.append(f"{_list(drawn)} where tokens are drawn")
    if getattr(config, "do_sample", None) and temperature != 0:
        said.append(
            f"it draws tokens at temperature {temperature or 1.0:g}, here the default is greedy"
        )
    skipped = {
        name: value
        for name, neutral in _NOT_DONE.items()
        if (value := getattr(config, name, None)) is not None and not _is_among(value, neutral)
    }
    if skipped:
        said.append(f"not done here: {_list(skipped)}")
    if bad:
        said.append(f"not taken: {', '.join(bad)}")
    return said


def _is_among(value: Any, neutral: tuple[Any, ...]) -> bool:
    return (tuple(value) if isinstance(value, list) else value) in neutral


def _list(values: Mapping[str, Any]) -> str:
    shown = {
        name: "" if isinstance(v, list | tuple | dict) else f" {v}" for name, v in values.items()
    }
    return ", ".join(f"{name}{value}" for name, value in shown.items())
