"""Record -> layout, with the same prompt ids that decoding feeds. Knows no files and no tensors."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pbranch.errors import ModelError, RecipeError, RequestError
from pbranch.format.branch_config import Form, SwitchOptions
from pbranch.format.layout import Kind, Layout, LayoutOptions, build_layout
from pbranch.format.markers import MarkerIds
from pbranch.format.trace_record import read_trace
from pbranch.format.tree import Trace, make_trace, plain_text
from pbranch.hf.chat_template import check_template_args
from pbranch.hf.prompt import render_prompt, turn_end_id
from pbranch.hf.segment_codec import SegmentCodec
from ptrain.config import Recipe
from ptrain.data.completion import CompletionCleaner


class Encoder:
    """Record -> layout, for one tokenizer and one way to lay out; `switch` and `template_args`: see
    BranchConfig.

    Raises ModelError without a chat template, RecipeError where the arguments do not fit it.
    """

    def __init__(
        self,
        tokenizer: Any,
        markers: MarkerIds | None,
        options: LayoutOptions,
        switch: SwitchOptions | None = None,
        template_args: Mapping[str, Any] | None = None,
    ) -> None:
        if not tokenizer.chat_template:
            raise ModelError(
                "no chat template, and traces are conversations; expected a chat_template.jinja in "
                "a copy of the base, or `chat_template:` in the recipe, a file or the template's "
                "text"
            )
        self.tokenizer, self.markers, self.options = tokenizer, markers, options
        self.switch, self.template_args = switch or SwitchOptions(), dict(template_args or {})
        try:
            check_template_args(self.template_args, tokenizer.chat_template)
            self.end_id = turn_end_id(tokenizer)
        except RequestError as e:
            raise RecipeError(f"chat_template, template_args: {e}") from e
        self.codec = SegmentCodec(tokenizer)
        self._clean = CompletionCleaner(tokenizer, self.codec, self.end_id)

    def __call__(self, record: Mapping[str, Any], form: Form = "parallel") -> Layout:
        """See `encode`."""
        return self.encode(record, form)[0]

    def encode(
        self, record: Mapping[str, Any], form: Form = "parallel"
    ) -> tuple[Layout, tuple[str, ...]]:
        """The layout, and what was noted of the completion; see `CompletionCleaner`.

        `linear` flattens every block: plain text, tokenised in one run as decoding without a fork
        gives it. Raises BranchError (of any kind) on a record that cannot be laid out.
        """
        prompt = render_prompt(
            record["messages"],
            self.tokenizer,
            template_args=self.template_args,
            switch=self.switch.text(form),
            tools=record.get("tools"),
        )
        trace, notes = self._clean(read_trace(record), prompt)
        if form == "parallel":
            return self._lay_out(prompt, trace), notes
        flat = self._lay_out(prompt, make_trace(plain_text(trace)))
        return replace(flat, kinds=[k and Kind.LINEAR for k in flat.kinds]), notes

    def _lay_out(self, prompt: list[int], trace: Trace) -> Layout:
        return build_layout(prompt, trace, self.codec, self.markers, self.end_id, self.options)


def make_encoder(
    recipe: Recipe, tokenizer: Any, markers: MarkerIds | None, home: Path | None = None
) -> Encoder:
    """The encoder of a run. A chat template of the recipe becomes the tokenizer's, which is saved
    with the result. home: where a relative file is looked for when the current folder has none."""
    if recipe.chat_template is not None:
        tokenizer.chat_template = read_template(recipe.chat_template, home)
    options, switch = recipe.branches.layout, recipe.switch
    try:
        return Encoder(tokenizer, markers, options, switch, recipe.template_args)
    except ModelError as e:
        raise ModelError(f"model {recipe.model}: {e}") from e


def read_template(value: str, home: Path | None = None) -> str:
    """A template's text, from a file unless `value` is one itself. Raises RecipeError."""
    if "{{" in value or "{%" in value:
        return value
    path = Path(value).expanduser()
    if not path.is_file() and home is not None and (home / path).is_file():
        path = home / path
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        reason = getattr(e, "strerror", None) or e
        raise RecipeError(
            f"chat_template: cannot read {path} ({reason}); expected a file, or the template's text"
        ) from e
    if not text.strip():
        raise RecipeError(f"chat_template: {path} is empty, expected a template")
    return text
