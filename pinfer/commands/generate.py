"""The verb `pinfer generate`: answers a prompt, or a file of them. Heavy imports come later."""

import secrets
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from pbranch import console
from pbranch.errors import RequestError
from pbranch.files.atomic import write_text
from pbranch.files.file_identity import refuse_overwriting
from pbranch.files.jsonl import LineFile, read_objects
from pinfer.commands.prompt_files import (
    PromptFile,
    read_instruction,
    read_template_args,
    read_text,
    unescape,
)
from pinfer.eviction.options import KVOptions, parse_budget

KV_BUDGET, KV_PAGE, KV_RATIO = "1024", 16, 0.5


def generate(
    prompt: Annotated[
        str | None, typer.Argument(help="a user message; - reads it from stdin")
    ] = None,
    prompts: Annotated[
        str | None, typer.Option(help="JSONL of prompt or messages; - stdin")
    ] = None,
    system: Annotated[
        str | None, typer.Option(help='system text; "" for none, not even the template\'s own')
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="feed the prompt without a template")] = False,
    special_tokens: Annotated[
        bool, typer.Option("--special-tokens", help="read those that a prompt spells; else text")
    ] = False,
    template_arg: Annotated[
        list[str], typer.Option(help="NAME=VALUE for the chat template, as enable_thinking=false")
    ] = [],  # noqa: B006
    model: Annotated[
        str | None, typer.Option(help="folder, Hub id, GGUF file, tiny or smollm2")
    ] = None,
    adapter: Annotated[str | None, typer.Option(help="folder, Hub id, or none")] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="run Python code that comes with a model")
    ] = False,
    mode: Annotated[
        str | None,
        typer.Option(help="parallel, serial or linear (the default without an adapter)"),
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option(help="tokens drawn in all lanes together; -1: until the context ends")
    ] = 512,
    max_topics: Annotated[int, typer.Option(help="branches of a block")] = 32,
    max_depth: Annotated[int, typer.Option(help="levels of nested blocks")] = 3,
    max_branch_tokens: Annotated[int | None, typer.Option(help="tokens of a branch")] = None,
    max_width: Annotated[int | None, typer.Option(help="lanes of a request at once")] = None,
    max_rows: Annotated[int, typer.Option(help="tokens fed in one pass")] = 512,
    timeout: Annotated[float | None, typer.Option(help="seconds for an answer")] = None,
    temperature: Annotated[float, typer.Option(help="0: greedy")] = 0.0,
    top_k: Annotated[
        int | None, typer.Option(help="draw from the K best tokens; 0: all [default: the model's]")
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(help="draw from the best tokens of this mass [default: the model's]"),
    ] = None,
    min_p: Annotated[
        float | None,
        typer.Option(help="bar tokens below this share of the best [default: the model's]"),
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(help="above 1: repeat less [default: the model's]")
    ] = None,
    stop: Annotated[
        list[str], typer.Option(help=r"text to end at, \n for a line break; may be repeated")
    ] = [],  # noqa: B006
    n: Annotated[int, typer.Option("-n", help="answers a prompt, with seeds that follow")] = 1,
    logprobs: Annotated[int | None, typer.Option(help="with --json: report so many")] = None,
    seed: Annotated[
        int | None, typer.Option(help="of the random draws; default: a random one, told on stderr")
    ] = None,
    fork: Annotated[str, typer.Option(help="auto, always or never")] = "auto",
    min_branch_tokens: Annotated[
        int, typer.Option(help="fork auto: shorter branches are decoded in order")
    ] = 4,
    draft: Annotated[
        str,
        typer.Option(
            help="guess tokens to save passes: none, ngram (text looked up), model:NAME (a small "
            "model), lookahead (beside the adapter, or :FOLDER), or auto, auto:model:NAME, "
            "auto:lookahead (what pays)"
        ),
    ] = "none",
    draft_tokens: Annotated[int, typer.Option(help="guesses a lane and pass; 0: none")] = 8,
    draft_rows: Annotated[int, typer.Option(help="guesses of all lanes in one pass")] = 16,
    kv: Annotated[
        str | None,
        typer.Option(
            help="bound the cache, evicting by raas, random, value, sink, h2o or lazy; none keeps "
            "all, in pages"
        ),
    ] = None,
    kv_budget: Annotated[
        str,
        typer.Option(help="tokens kept a lane; 25%: of prompt and limit; +512: besides the prompt"),
    ] = KV_BUDGET,
    kv_page: Annotated[int, typer.Option(help="tokens evicted together")] = KV_PAGE,
    kv_ratio: Annotated[
        float, typer.Option(help="raas: share of pages used by a token")
    ] = KV_RATIO,
    kv_picture: Annotated[
        str | None, typer.Option(help="SVG of which page lived when, of a single prompt")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16")] = None,
    batch_invariant: Annotated[
        bool,
        typer.Option(
            "--batch-invariant",
            help="the same tokens in any batch, in bfloat16 too; without it, in float32 alone",
        ),
    ] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda")] = None,
    max_memory: Annotated[float | None, typer.Option(help="GiB for cached tokens")] = None,
    attention: Annotated[str, typer.Option(help="auto, flash, sdpa or dense")] = "auto",
    path: Annotated[str, typer.Option(help="auto, fast or general forward")] = "auto",
    dialect: Annotated[
        str, typer.Option(help="native (an adapter's markers), or paper (marks asked for)")
    ] = "native",
    instruction: Annotated[
        str | None, typer.Option(help="file of what asks for the marks; default: shipped")
    ] = None,
    outline: Annotated[str, typer.Option(help="paper: branches see own or all titles")] = "own",
    join: Annotated[
        str | None, typer.Option(help="refuse a model of another: keep or reencode")
    ] = None,
    grammar: Annotated[str, typer.Option(help="on, or off to see the bare model")] = "on",
    no_stream: Annotated[bool, typer.Option("--no-stream", help="print when all is done")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
    output: Annotated[str | None, typer.Option(help="write there instead of stdout")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with --output's file")] = False,
) -> None:
    """Answer one prompt, or a file of prompts as one batch."""
    if (prompt is None) == (prompts is None):
        raise typer.BadParameter("give a PROMPT, or --prompts FILE")
    if resume and not (output and as_json):
        raise typer.BadParameter("--resume needs --output FILE and --json")
    read = [path for path in (prompts, instruction, model, adapter) if path is not None]
    check_output(output, read)
    bounded = read_kv(kv, kv_budget, kv_page, kv_ratio)
    streams = prompt is not None and n == 1 and not (as_json or no_stream or output)
    if kv_picture is not None and (bounded is None or not streams):
        raise typer.BadParameter("--kv-picture needs --kv and one PROMPT that is streamed")
    check_output(kv_picture, read, "--kv-picture")
    from pinfer.output.generation import ANSWER_KEYS
    from pinfer.params import UNTIL_CONTEXT_ENDS, EngineLimits, SamplingParams, samples

    single: list[tuple[str, dict[str, Any]]] = []
    if prompt is not None:
        single = [("", {"prompt": read_text(prompt)})]
    lines = single or PromptFile(str(prompts), ANSWER_KEYS if as_json else frozenset())
    if instruction is not None and dialect == "native":
        raise RequestError("--instruction needs a dialect that is asked for: --dialect paper")
    asks = None if instruction is None else read_instruction(instruction)
    rendering = {
        "system": system,
        "raw": raw,
        "template_args": read_template_args(template_arg),
        "instruction": asks,
        "special_tokens": special_tokens,
    }
    params = SamplingParams(
        max_new_tokens=UNTIL_CONTEXT_ENDS if max_new_tokens == -1 else max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        stop=tuple(map(unescape, stop)),
        logprobs=logprobs,
        seed=seed,
        mode=mode,  # type: ignore[arg-type]
        grammar=grammar,  # type: ignore[arg-type]
        fork=fork,  # type: ignore[arg-type]
        min_branch_tokens=min_branch_tokens,
        max_topics=max_topics,
        max_depth=max_depth,
        max_branch_tokens=max_branch_tokens,
        max_width=max_width,
        timeout_s=timeout,
        dialect=dialect,  # type: ignore[arg-type]
        outline=outline,  # type: ignore[arg-type]
        draft_tokens=draft_tokens,
    )
    if logprobs is not None and not as_json:
        raise typer.BadParameter("--logprobs needs --json")
    samples(params, n)  # refuses n below 1
    if params.seed is None and temperature > 0:
        params = replace(params, seed=choose_seed(output if resume else None))
    limits = EngineLimits(max_rows=max_rows, max_memory=max_memory, max_draft_rows=draft_rows)
    how: Any = {"dtype": dtype, "device": device, "attention": attention, "path": path}
    how |= {"stored_cost": fork == "auto" or draft.startswith("auto"), "limits": limits}
    how |= {"draft": draft, "kv": bounded, "batch_invariant": batch_invariant}
    how |= {"trust_remote_code": trust_remote_code}
    with console.interruptible() as asked:
        with asked.at_once():
            console.quiet_libraries()
            from pinfer.commands.answer_writer import answer_batch, stream_answer
            from pinfer.commands.jobs import Jobs, count_done
            from pinfer.drafting.sources import check_source
            from pinfer.engine import Engine
        check_source(draft)
        with asked.at_once():
            engine = Engine.from_pretrained(model, adapter, **how)
    params = engine.spec.resolve(params)
    if mode is None and params.mode == "linear":
        console.say("no adapter that knows branches: mode linear")
    if join is not None:
        check_join(join, engine.spec.layout.join, dialect)
    from pinfer.models.load import identify_weights

    settings = {"model": model, "adapter": adapter, "dtype": dtype, **rendering}
    if bounded is not None:
        settings["kv"] = asdict(bounded)
    if batch_invariant:
        settings["batch_invariant"] = True
    if as_json:
        settings["weights"] = identify_weights(*engine.weights, trust_remote_code)
    jobs = Jobs(lines, params, n, settings)
    done = count_done(Path(output), jobs) if resume and output else 0
    if len(jobs) == 1 and not (as_json or no_stream or output):
        answer = stream_answer(engine, next(iter(jobs)), sys.stdout, **rendering)
        if kv_picture is not None and answer.kv_trace is not None:
            from pinfer.output.waterfall import draw_waterfall

            write_text(Path(kv_picture), draw_waterfall(answer.kv_trace))
    else:
        answer_batch(engine, jobs, _opener(output, resume), as_json, done, **rendering)


def check_output(output: str | None, read: Sequence[str], option: str = "--output") -> None:
    """Raise RequestError where no file can be at an option's path, DataError where it is one that
    is read; stdout may be led into one, too."""
    if output is not None and not Path(output).parent.is_dir():
        raise RequestError(f"{option} {output}: no such folder")
    if output is not None and Path(output).is_dir():
        raise RequestError(f"{option} {output}: cannot write, it is a folder")
    refuse_overwriting(["-" if output is None else output], read)


def read_kv(policy: str | None, budget: str, page: int, ratio: float) -> KVOptions | None:
    """How the cache is bounded; None where it is not. BadParameter where no policy is named."""
    if policy is None:
        if (budget, page, ratio) != (KV_BUDGET, KV_PAGE, KV_RATIO):
            raise typer.BadParameter("--kv-budget, --kv-page and --kv-ratio need --kv")
        return None
    tokens, on_top = parse_budget(budget)
    return KVOptions(policy, tokens, page, ratio, on_top=on_top)


def choose_seed(resumed: str | None) -> int:
    """A random seed, told on stderr; where a file of answers is resumed, the one that they have."""
    if resumed is not None and Path(resumed).exists():
        for row in read_objects(resumed):
            if isinstance(row.get("seed"), int):
                return row["seed"]
            break
    seed = secrets.randbelow(2**32)
    console.say(f"no --seed given: drawing with seed {seed}")
    return seed


def check_join(asked: str, found: str, dialect: str) -> None:
    """RequestError unless a model joins its branches as asked; the paper's dialect re-encodes."""
    if asked not in ("keep", "reencode"):
        raise RequestError(f"--join {asked}: expected keep or reencode")
    found = "reencode" if dialect == "paper" else found
    if asked != found:
        what = "the dialect paper joins by" if dialect == "paper" else "the adapter was trained for"
        raise RequestError(f"--join {asked}: {what} {found}")


def _opener(path: str | None, resume: bool) -> Any:
    """Opens the output when all is well: only then is an older file given up."""
    return lambda: nullcontext(sys.stdout) if path is None else LineFile(Path(path), resume)
