"""Look-ahead drafts for `generate` of transformers, which knows no branches: a pass drafts, the
next one verifies, by turns, as PaSS has it (arXiv 2311.13581)."""

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers.generation.candidate_generator import CandidateGenerator

from pbranch.hf.hub import fetch_adapter, fetch_lookahead
from pbranch.hf.lookahead.files import load_checked
from pbranch.hf.lookahead.row_lora import RowLora


class LookaheadGenerate:
    """A way to decode for `model.generate(ids, custom_generate=LookaheadGenerate(model, where))`.

    Greedy decoding gives the tokens that it gives without, sampling their distribution.
    """

    def __init__(self, model: Any, where: str | Path, adapter: str | Path | None = None) -> None:
        """Args:
            model: a causal LM of transformers. The LoRA of look-ahead rows hangs on it from now on,
                and changes no other row.
            where: a folder or Hub id with what `ptrain lookahead` has left for this model.
            adapter: the same of what was merged into the model; None: nothing was.

        Raises:
            AdapterError: The files are missing or broken, or of another model or adapter.
            ModelError: They have a LoRA, and the model's layers are built otherwise.
        """
        merged = None if adapter is None else fetch_adapter(str(adapter))
        self.tensors = load_checked(fetch_lookahead(str(where)), model, merged)
        self.lora = RowLora(model, self.tensors)

    def __call__(self, model: Any, input_ids: Tensor, **options: Any) -> Any:
        """As `generate` calls it: assisted decoding of one sequence, by our candidates."""

        def make(**given: Any) -> CandidateGenerator:
            config, process = given["generation_config"], given["logits_processor"]
            return Candidates(model, self.tensors, self.lora, config, process)

        model._get_candidate_generator = make
        try:
            return model._assisted_decoding(input_ids, **options)
        finally:
            del model._get_candidate_generator


class Candidates(CandidateGenerator):
    """The next token and L guesses behind it, of one pass over the newest token and the look-ahead
    rows; none in the pass that reads the prompt, whose cache is empty."""

    requires_model_outputs = True  # so that `get_candidates` is given the cache
    model_kwargs_overrides: ClassVar[dict[str, Any]] = {}

    def __init__(
        self, model: Any, tensors: dict[str, Tensor], lora: RowLora, config: Any, process: Any
    ) -> None:
        self.model, self.tensors, self.lora = model, tensors, lora
        self.config, self.process = config, process

    def get_candidates(  # type: ignore[override]
        self,
        input_ids: Tensor,
        model_kwargs: dict[str, Any],
        is_first_iteration: bool = False,
        **_: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Ids (1, length) in; the same with n guesses behind them, and the logits
        (1, n, vocabulary) that these were drawn from. n: L + 1, or fewer at the end."""
        ahead = self.tensors["embeddings"]
        count = min(len(ahead), self.config.max_length - input_ids.shape[1] - 2)
        if is_first_iteration or count < 0:
            return input_ids, None
        rows = self._look_ahead(input_ids, ahead[:count], model_kwargs)
        found: list[Tensor] = []
        for place, row in enumerate(rows):
            if place:
                row = row + self._bias(input_ids[0, -1])
            scores = self.process(input_ids, row[None].float())
            found.append(scores)
            if self.config.do_sample:
                token = scores.softmax(-1).multinomial(1)
            else:
                token = scores.argmax(-1, keepdim=True)
            input_ids = torch.cat((input_ids, token), 1)
        return input_ids, torch.stack(found, 1)

    def _look_ahead(self, ids: Tensor, ahead: Tensor, model_kwargs: dict[str, Any]) -> Tensor:
        """Logits (1 + L, vocabulary) at the newest token and the look-ahead rows; the cache is as
        before."""
        newest = self.model.get_input_embeddings()(ids[:, -1:])
        rows = torch.cat((newest, ahead[None].to(newest.dtype)), 1)
        mask = model_kwargs.get("attention_mask")
        mask = torch.ones_like(ids) if mask is None else mask
        mask = torch.cat((mask, mask.new_ones((1, len(ahead)))), 1)
        cache = model_kwargs["past_key_values"]
        with self.lora.on(1):
            out = self.model(
                inputs_embeds=rows,
                attention_mask=mask,
                position_ids=(mask.cumsum(1) - 1)[:, -rows.shape[1] :],
                past_key_values=cache,
                use_cache=True,
            )
        cache.crop(-rows.shape[1])
        logits: Tensor = out.logits[0]
        return logits

    def _bias(self, before: Tensor) -> Tensor | float:
        """What the Markov head adds, by the token before."""
        if "markov_in" not in self.tensors:
            return 0.0
        return linear(self.tensors["markov_in"][before], self.tensors["markov_out"])
