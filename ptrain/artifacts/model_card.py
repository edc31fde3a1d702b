"""The model card of a folder that training or merging has left.

Every number in it is read from `train_report.json`; where there is no report, there are no numbers.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pbranch.files.atomic import write_text
from pbranch.files.markdown import as_block, as_code, as_text, is_repository, one_line
from pbranch.hf.base_models import NAMED
from ptrain.artifacts.artifact import CARD, Artifact, read_artifact

MEASURED = {
    "eval_loss": "loss, all targets",
    "eval_marker_accuracy": "predicted right, mean of the markers",
    "eval_prompts": "held-out prompts decoded",
    "eval_prompts_to_fork": "of these, prompts whose trace forks",
    "eval_format_rate": "answers of legal form without the grammar mask",
    "eval_fork_rate": "forked, of prompts whose trace forks",
    "eval_no_fork_rate": "not forked, of the others",
    "eval_mean_branches": "branches of an answer that forked, mean",
    "eval_tokens_per_pass": "tokens drawn in a pass",
    "eval_format_rate_linear": "answers without a marker, asked for in linear form",
}
# names that need no quotes in a shell, in Python or in Markdown
PLACE = re.compile(r"[\w.~+:@=/-]*[\w/]|[.~]")
PREFIXES = {"eval_loss_": "loss, ", "eval_accuracy_": "predicted right, "}
BODY = """---
{front}
---
# Parallel branches for {base}

{what}

## Use

```
pip install parallel-branches
pinfer generate {flag} {where}{mode} "your question"
```

```python
from pinfer import Engine, SamplingParams

engine = Engine.from_pretrained({argument}"{where}")
(answer,) = engine.generate(["your question"], SamplingParams(max_new_tokens=512{keyword}))
print(answer.text)
```

{drafts}{plain}

## Other libraries

{others}

## Results

{results}

## Data

{data}

## Limits

{limits}

## Recipe

`recipe.yaml`, for `ptrain sft`:

{recipe}
"""
DERAILS = (
    "Only `pinfer` decodes the branches side by side. The plain `generate` of any other library, "
    "and any server that samples one token after another, derails after the outline: what opens a "
    "branch and what follows the last one is put in by the engine and was never a target in "
    "training, and a branch was trained not to see its siblings."
)
DRAFTS = """\
`--draft lookahead:{where}`, or `draft="lookahead:{where}"`, has the model draft its own next
tokens, which saves passes.

"""
TWIN = (
    "It is a sequential twin: trained on the same traces with every block flattened into plain "
    "text. It never forks, and is there to be compared with. It writes no markers, so that the "
    "plain `generate` of other libraries decodes it too, once they have loaded it as below."
)
WHOLE = """\
- transformers: `AutoModelForCausalLM.from_pretrained("{where}")`. `generate` stops at the end of
  a turn by itself.
- vLLM: `vllm serve {where}`. Not run: that it is a plain model folder is what was tested."""
PEFT = """\
- peft: `AutoPeftModelForCausalLM.from_pretrained("{where}")`. Around a base that you have loaded,
  the vocabulary has to grow first:

  ```python
  if len(tokenizer) > base.get_input_embeddings().num_embeddings:
      base.resize_token_embeddings(len(tokenizer))
  model = PeftModel.from_pretrained(base, "{where}")
  ```

  `generate` takes the token that ends a turn as `eos_token_id`, where the base does not stop there.
"""
PLAIN = """\
- transformers and vLLM: `ptrain merge {where} --out FOLDER` makes a plain model folder for both.
- vLLM with `--enable-lora`: it refuses the trained vocabulary rows of this adapter.
  `ptrain export {where} --out FOLDER` writes a base that has them, and a plain LoRA. Not run: file
  names and shapes are what was tested."""
PEFT_OURS = """\
- peft: `ptrain export {where} --out FOLDER`, as only parallel-branches finds the base; then
  `AutoPeftModelForCausalLM.from_pretrained("FOLDER/adapter")`.
"""


def write_card(folder: Path, where: str | None = None) -> None:
    """Make README.md of `folder` from its other files. where: see `make_card`; default: `folder`.

    Raises AdapterError where one of them is missing.
    """
    card = make_card(read_artifact(folder), where or str(folder))
    write_text(folder / CARD, card)


def make_card(artifact: Artifact, where: str, license: str | None = None) -> str:
    """README.md of `artifact`, which is to be found at `where` (a folder or a Hub id).

    license: an id of the Hub, as `apache-2.0`.
    """
    recipe, is_adapter = artifact.recipe, artifact.is_adapter
    where = where if PLACE.fullmatch(where) else "FOLDER"
    twin = recipe.form == "linear"
    return BODY.format(
        front=_front_matter(artifact, where, license),
        base=as_text(_base_name(artifact)),
        what=_describe(artifact),
        where=where,
        flag="--adapter" if is_adapter else "--model",
        argument="adapter=" if is_adapter else "",
        mode=" --mode linear" if twin else "",
        keyword=', mode="linear"' if twin else "",
        drafts=DRAFTS.format(where=where) if artifact.looks_ahead else "",
        plain=TWIN if twin else DERAILS,
        others=_write_others(artifact, where),
        results=_write_results(artifact.report),
        data=_write_data(artifact),
        limits=_write_limits(artifact),
        recipe=as_block(artifact.page, "yaml"),
    )


def measurements(report: dict[str, Any]) -> Iterator[tuple[str, str, float]]:
    """(key, label, value) of what `report` has measured on held-out traces; no NaN."""
    for key, value in report.items():
        prefix = next((p for p in PREFIXES if key.startswith(p)), "")
        label = MEASURED.get(key) or (prefix and PREFIXES[prefix] + key.removeprefix(prefix))
        known = label and re.fullmatch(r"\w+", key, re.ASCII)
        if known and type(value) in (int, float) and abs(value) < 1e12:  # not so of NaN
            yield key, label, value


def _front_matter(artifact: Artifact, where: str, license: str | None) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    datasets = [d for d in map(_dataset_id, _data(artifact)) if d]
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=datasets[0] if len(datasets) == 1 else "held-out-traces",
            dataset_name=one_line(f"{artifact.report.get('held_out', '')} held-out traces"),
            metric_type="loss" if "loss" in key else key.removeprefix("eval_"),
            metric_name=key,
            metric_value=value,
        )
        for key, _, value in measurements(artifact.report)
    ]
    method = ["full" if artifact.recipe.tuning == "full" else "lora"]
    return ModelCardData(
        base_model=artifact.hub_base or NAMED.get(artifact.config.base_model),
        library_name="peft" if artifact.is_adapter else "transformers",
        pipeline_tag="text-generation",
        license=one_line(license) if license else None,
        datasets=datasets or None,
        tags=["parallel-branches", *method],
        model_name=Path(where).name if results else None,
        eval_results=results or None,
    ).to_yaml()


def _base_name(artifact: Artifact) -> str:
    name = artifact.config.base_model
    return f"the {name} base of parallel-branches" if name in NAMED else Path(name).name


def _describe(artifact: Artifact) -> str:
    recipe = artifact.recipe
    base = f"`{artifact.hub_base}`" if artifact.hub_base else as_text(_base_name(artifact))
    if recipe.tuning == "full":
        what = f"All weights of {base}, tuned"
    else:
        on = f" trained on the base in 4 bit ({q})" if (q := artifact.config.quantization) else ""
        lora = f"LoRA of rank {recipe.lora.r}{on}"
        what = f"A {lora} {'for' if artifact.is_adapter else 'merged into'} {base}"
    if recipe.adapter:
        what += f", which goes on from {as_code(recipe.adapter)}"
    step, planned = (
        value if type(value := artifact.report.get(key)) is int else None
        for key in ("steps", "steps_planned")
    )
    if planned and step != planned:
        what += f" (a checkpoint, after {step} of {planned} steps)"
    if recipe.form == "linear":
        return f"{what}, made by `ptrain sft` of parallel-branches. {TWIN.split('. ')[0]}."
    text = (
        f"{what}, made by `ptrain sft` of parallel-branches. It marks steps that do not need one "
        "another, so that they can be decoded side by side in one sequence."
    )
    if recipe.form == "mixed":
        text += (
            " Trained on traces in parallel and in linear form; shares in parallel form over the "
            f"run: {', '.join(f'{share:g} at {at:g}' for at, share in recipe.curriculum)}."
        )
    asked = {"parallel": recipe.switch.parallel, "linear": recipe.switch.linear}
    return text + "".join(
        f"\nThe system text {as_code(said)} asks for an answer in {form} form."
        for form, said in asked.items()
        if said
    )


def _write_others(artifact: Artifact, where: str) -> str:
    if not artifact.is_adapter:
        return WHOLE.format(where=where)
    peft = PEFT_OURS if artifact.base_is_ours else PEFT
    rounded = artifact.config.quantization is not None  # not tested in peft
    return ("" if rounded else peft.format(where=where)) + PLAIN.format(where=where)


def _write_results(report: dict[str, Any]) -> str:
    rows = [f"| {label} | `{key}` | {value} |" for key, label, value in measurements(report)]
    table = "\n".join(["| measure | in the report | value |", "|---|---|---|", *rows])
    told = {
        as_text(key.replace("_", " ")): as_text(value)
        for key, value in report.items()
        if not key.startswith("eval_") and isinstance(value, str | int | float)
    }
    conditions = ", ".join(f"{key} {value}" for key, value in told.items())
    if not rows:
        table = "Nothing was measured on held-out traces."
    return f"{table}\n\nConditions: {conditions}." if conditions else table


def _data(artifact: Artifact) -> list[str]:
    data = artifact.recipe.data
    return [data] if isinstance(data, str) else list(data)


def _dataset_id(entry: str) -> str | None:
    """`owner/name` of `hf:owner/name:split`; None for a file."""
    name = entry[3:].split(":")[0]
    return name if entry.startswith("hf:") and is_repository(name) else None


def _write_data(artifact: Artifact) -> str:
    lines = []
    for entry in _data(artifact):
        dataset = _dataset_id(entry)
        link = (
            f"[{dataset}](https://huggingface.co/datasets/{dataset})" if dataset else as_code(entry)
        )
        lines.append(f"- {link}")
    report = artifact.report
    if "traces" in report:
        left = report.get("left_out")
        left = left if isinstance(left, dict) else {}
        reasons = ", ".join(as_text(f"{n} {reason}") for reason, n in left.items()) or "none"
        lines.append(
            f"\n{as_text(report['traces'])} traces trained on, "
            f"{as_text(report.get('held_out', 0))} held out, "
            f"left out: {reasons}."
        )
    return "\n".join(["Branch-tagged reasoning traces:\n", *lines])


def _write_limits(artifact: Artifact) -> str:
    config, longest = artifact.config, artifact.recipe.train.max_length
    lines = [
        f"- Trained on rows of at most {longest} tokens; beyond that nothing was measured.",
        "- The losses are those of held-out traces like the ones it was trained on; they say "
        "nothing about other tasks.",
        f"- `branch_config.json` holds the markers, their ids and the layout (join "
        f"`{config.join}`, positions `{config.positions}`, outline `{config.outline}`); `pinfer` "
        "refuses a base or a format version that does not fit.",
    ]
    return "\n".join(lines)
