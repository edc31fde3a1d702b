"""`pinfer`: decode prompts with parallel branches. Parses and calls; heavy imports come later."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from pbranch import console
from pbranch.errors import RequestError
from pinfer.prompts import read_prompts, read_text

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def root() -> None:
    """Decode reasoning branches side by side, in one sequence."""


@app.command()
def generate(
    prompt: Annotated[
        str | None, typer.Argument(help="a user message; - reads it from stdin")
    ] = None,
    prompts: Annotated[
        str | None, typer.Option(help="JSONL of prompt or messages; - stdin")
    ] = None,
    system: Annotated[str | None, typer.Option(help="system text")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="feed the prompt without a template")] = False,
    model: Annotated[str | None, typer.Option(help="folder or Hub id; default: shipped")] = None,
    adapter: Annotated[str | None, typer.Option(help="folder, Hub id, or none")] = None,
    mode: Annotated[str, typer.Option(help="parallel, serial or linear")] = "parallel",
    max_new_tokens: Annotated[int, typer.Option(help="tokens drawn in all lanes together")] = 512,
    max_topics: Annotated[int, typer.Option(help="branches of a block")] = 32,
    max_depth: Annotated[int, typer.Option(help="levels of nested blocks")] = 3,
    max_branch_tokens: Annotated[int | None, typer.Option(help="tokens of a branch")] = None,
    max_width: Annotated[int | None, typer.Option(help="lanes of a request at once")] = None,
    max_rows: Annotated[int, typer.Option(help="tokens fed in one pass")] = 512,
    timeout: Annotated[float | None, typer.Option(help="seconds for a request")] = None,
    temperature: Annotated[float, typer.Option(help="0: greedy")] = 0.0,
    top_k: Annotated[int, typer.Option(help="draw from the K best tokens; 0: all")] = 0,
    top_p: Annotated[float, typer.Option(help="draw from the best tokens of this mass")] = 1.0,
    min_p: Annotated[float, typer.Option(help="bar tokens below this share of the best")] = 0.0,
    repetition_penalty: Annotated[float, typer.Option(help="above 1: repeat less")] = 1.0,
    stop: Annotated[list[str] | None, typer.Option(help="text to end at; may be repeated")] = None,
    n: Annotated[int, typer.Option("-n", help="answers a prompt, with seeds that follow")] = 1,
    logprobs: Annotated[int | None, typer.Option(help="with --json: report so many")] = None,
    seed: Annotated[int, typer.Option(help="of the random draws")] = 0,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda")] = None,
    attention: Annotated[str, typer.Option(help="auto, sdpa or dense")] = "auto",
    grammar: Annotated[str, typer.Option(help="on, or off to see the bare model")] = "on",
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
    output: Annotated[str | None, typer.Option(help="write there instead of stdout")] = None,
) -> None:
    """Answer one prompt, or a file of prompts as one batch."""
    if (prompt is None) == (prompts is None):
        raise typer.BadParameter("give a PROMPT, or --prompts FILE")
    jobs = read_prompts(prompts) if prompts is not None else [{"prompt": read_text(prompt or "")}]
    from pinfer.params import EngineLimits, SamplingParams, samples

    params = SamplingParams(
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        stop=tuple(stop or ()),
        logprobs=logprobs,
        seed=seed,
        mode=mode,  # type: ignore[arg-type]
        grammar=grammar,  # type: ignore[arg-type]
        max_topics=max_topics,
        max_depth=max_depth,
        max_branch_tokens=max_branch_tokens,
        max_width=max_width,
        timeout_s=timeout,
    )
    seeds, limits = samples(params, n), EngineLimits(max_rows=max_rows)
    if output is not None and not Path(output).parent.is_dir():
        raise RequestError(f"--output {output}: no such folder")
    console.quiet_libraries()
    from pinfer.engine import Engine

    engine = Engine.from_pretrained(
        model, adapter, dtype=dtype, device=device, attention=attention, limits=limits
    )
    waiting: dict[int, dict] = {}
    for job in jobs:
        body = job["messages"] if "messages" in job else job["prompt"]
        for sample in seeds:
            waiting[engine.add(body, sample, system=system, raw=raw).number] = job
    with _open_output(output) as out:  # all is well: only now is an older file given up
        _answer(engine, waiting, out, as_json)


def _answer(engine: Any, waiting: dict[int, dict], out: TextIO, as_json: bool) -> None:
    """Decode all jobs as one batch; print in input order, each once those before it are."""
    order, done = list(waiting), {}
    with console.progress("decoding", len(order) if len(order) > 1 else 0) as advance:
        for request, generation in engine.run():
            done[request.number] = generation
            advance()
            while order and order[0] in done:
                number = order.pop(0)
                _print(done.pop(number), waiting[number], out, as_json)


def _print(generation: Any, job: dict, out: TextIO, as_json: bool) -> None:
    if as_json:
        line = json.dumps({**job, **generation.as_dict()}, ensure_ascii=False)
    else:
        line = generation.text
        stats = generation.stats
        note = f", limits: {', '.join(generation.limits)}" if generation.limits else ""
        print(
            f"[{generation.finish_reason}{note}] {stats.generated_tokens} tokens in {stats.passes} "
            f"passes, {stats.branches} branches, {stats.decode_seconds:.2f} s",
            file=sys.stderr,
        )
    print(line, file=out, flush=True)


def _open_output(path: str | None) -> Any:
    from contextlib import nullcontext

    return nullcontext(sys.stdout) if path is None else open(path, "w", encoding="utf-8")


def main() -> None:
    """Entry point of the `pinfer` command."""
    console.run(app)
