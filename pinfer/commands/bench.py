"""The verb `pinfer bench`: options in, findings out. Imports nothing heavy until it runs."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pbranch import console
from pbranch.errors import ModelError, RequestError
from pbranch.files.atomic import write_text
from pbranch.files.file_identity import refuse_overwriting

if TYPE_CHECKING:
    from pinfer.bench.findings import Finding
    from pinfer.bench.suite import Suite


def bench(
    workloads: Annotated[str, typer.Argument(help="of W1, W2, W3, W4, W5, W6, W8")] = "W1,W2,W3",
    shape: Annotated[str, typer.Option(help="0.5b, qwen3-0.6b, 0.1b or host")] = "0.5b",
    model: Annotated[
        str | None, typer.Option(help="folder or GGUF file, in place of a shape")
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="run Python code that comes with a model")
    ] = False,
    dtype: Annotated[str | None, typer.Option(help="float32 (default) or bfloat16")] = None,
    path: Annotated[str, typer.Option(help="auto, fast or general")] = "auto",
    prompt: Annotated[int, typer.Option(help="tokens")] = 512,
    long_prompt: Annotated[int, typer.Option(help="tokens of W6's")] = 4096,
    branches: Annotated[str, typer.Option(help="numbers of branches")] = "2,4,8",
    lengths: Annotated[str, typer.Option(help="of W3's and W5's branches")] = "160,120,80,40",
    tokens: Annotated[int, typer.Option(help="of a branch of W2")] = 100,
    trunk: Annotated[int, typer.Option(help="tokens before a block, and behind it")] = 50,
    requests: Annotated[int, typer.Option(help="of W5")] = 16,
    rounds: Annotated[int, typer.Option(help="in each, every arm runs once")] = 9,
    warmups: Annotated[int, typer.Option(help="rounds that are not counted")] = 2,
    minutes: Annotated[float, typer.Option(help="of a workload: begin no round later")] = 5.0,
    threads: Annotated[int, typer.Option(help="of the CPU; more than one is seldom fair")] = 1,
    seed: Annotated[int, typer.Option(help="of weights, prompts and scripts")] = 0,
    peers: Annotated[
        bool, typer.Option("--peers/--no-peers", help="transformers beside us")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
    plot: Annotated[str | None, typer.Option(help="W1's step times as an SVG file")] = None,
    break_even: Annotated[
        bool,
        typer.Option("--break-even", help="measure --model's passes, for `generate --fork auto`"),
    ] = False,
) -> None:
    """Measure how fast branches decode here, on a model of random weights."""
    console.quiet_libraries()
    if break_even:
        from pinfer.bench.break_even import report_cost

        # with the threads and the dtype that `generate` has, or it would not find the table
        report_cost(
            model, dtype=dtype, path=path, prompt_tokens=prompt, as_json=as_json,
            trust_remote_code=trust_remote_code,
        )  # fmt: skip
        return
    names = workloads.upper().split(",")
    if plot is not None and ("W1" not in names or not Path(plot).parent.is_dir()):
        raise RequestError(
            f"--plot {plot}: expected W1 among the workloads, and an existing folder"
        )
    if plot is not None and model is not None:
        refuse_overwriting([plot], [model])
    counts = {"--branches": branches, "--lengths": lengths}
    widths, sizes = (numbers(name, text) for name, text in counts.items())
    from pinfer.bench.suite import Settings, Suite, check_names

    check_names(names)
    settings = Settings(
        shape=None if model else shape,
        model=model,
        trust_remote_code=trust_remote_code,
        dtype=dtype or "float32",
        path=path,
        prompt=prompt,
        long_prompt=long_prompt,
        branches=widths,
        lengths=sizes,
        tokens=tokens,
        trunk=trunk,
        requests=requests,
        rounds=rounds,
        warmups=warmups,
        minutes=minutes,
        threads=threads,
        seed=seed,
        peers=peers,
    )
    publish(Suite(settings), names, as_json, plot)


def publish(suite: "Suite", names: list[str], as_json: bool, plot: str | None = None) -> None:
    """Run workloads and print each as it is done; ModelError at the end if one was refused."""
    from pinfer.bench import report

    found: list[Finding] = []
    for name in names:
        for one in suite.run(name):
            if not as_json:
                legend = "" if found else report.LEGEND + "\n"
                print(legend + "\n" + "\n".join(report.lines(one)), flush=True)
            found.append(one)
            if plot is not None and "step_gain" in one:
                title = f"time of a step, prompt {one['prompt']}, {suite.settings.dtype}"
                write_text(Path(plot), report.draw(one["step_ms"], title))
    machine = suite.machine()
    if as_json:
        print(json.dumps({"machine": machine, "findings": found}))
    else:
        print("\n" + report.head(machine))
    refused = [f"{x['workload']} ({x['check']['refused']})" for x in found if x["check"]["refused"]]
    if refused:
        sys.stdout.flush()
        raise ModelError(f"no speed for {', '.join(refused)}")


def numbers(name: str, text: str) -> tuple[int, ...]:
    """Of an option: whole numbers above 0 between commas, else RequestError."""
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError as e:
        raise RequestError(f"{name} {text!r}: expected numbers, as 2,4,8") from e
    if any(n < 1 for n in found):
        raise RequestError(f"{name} {text!r}: expected numbers above 0")
    return found
