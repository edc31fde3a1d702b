"""The same tree search in several ways: tokens computed, passes, acceptance and seconds of each.

python benchmarks/search.py --model DIR [--draft-model DIR] [--task arithmetic] [--n 4]
    [--arms naive,batch,one,ngram,draft] [--width 5 --keep 2 --depth 3] [--json]

naive   a new sequence for every branch, one after another, all of its text read again: HF generate
batch   the open branches of a phase as separate sequences of this engine, prefixes cached
one     branches of one sequence; ngram, draft: the same with guesses, of looked up text or of a
        small model
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from pbranch.files.jsonl import read_objects
from pinfer import Engine, EngineLimits, SamplingParams
from pinfer.models.load import load
from pinfer.models.load_draft import open_source
from pinfer.request.stop_strings import truncate_at_stop
from pinfer.scheduling.drafts import Drafter
from pinfer.scheduling.schedules import make_schedule
from pinfer.search.run import run_search
from pinfer.search.tasks import arithmetic, blocksworld, game24
from pinfer.search.tasks.catalogue import find_task
from pinfer.search.tasks.task import Task
from pinfer.search.tree.branch import Branch
from pinfer.search.tree.settings import SearchSettings
from pinfer.search.tree.tree_search import TreeSearch

ARMS = ("naive", "batch", "one", "ngram", "draft")


@dataclass
class Outcome:
    """Sums over the problems of an arm. computed: tokens fed, prompts and guesses included."""

    computed: int = 0
    passes: int = 0
    sampled: int = 0
    drafted: int = 0
    accepted: int = 0
    thoughts: int = 0
    solved: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    answers: list[str] = field(default_factory=list)


class Sequences:
    """`Branches` as sequences of their own: each reads the text of its whole path. `decode` answers
    a list of (token ids, branch), and counts what that took in an outcome."""

    def __init__(self, engine: Engine, prompt: list[int], outcome: Outcome) -> None:
        self.engine, self.outcome = engine, outcome
        self.texts: dict[Branch, list[int]] = {}
        self.prompt, self.waiting = prompt, list[Branch]()

    def open(self, branch: Branch) -> None:
        """As `Branches`."""
        self.waiting.append(branch)

    def drop(self, branch: Branch) -> int:
        """As `Branches`."""
        self.waiting = [x for x in self.waiting if x.path[: len(branch.path)] != branch.path]
        return 0

    def run(self, task: Task, settings: SearchSettings, params: SamplingParams) -> TreeSearch:
        """A search to its end, all that is open decoded together."""
        search = TreeSearch(task, settings, self)
        self.texts[search.root.branch] = self.prompt
        search.start()
        while not search.done:
            taken, self.waiting = self.waiting, []
            given = [[*self.texts[b.parent], *self.encode(b.header)] for b in taken]  # type: ignore[index]
            for branch, ids, found in zip(
                taken, given, self.decode(given, taken, params), strict=True
            ):
                branch.ended = bool(found) and found[-1] in self.engine.spec.end_of_text
                said = found[:-1] if branch.ended else found
                self.texts[branch] = [*ids, *said]
                self.outcome.sampled += len(found)
                if branch.tokens:
                    text = self.engine.codec.decode(said)
                    branch.text = truncate_at_stop(text, branch.stop)
            for branch in taken:
                search.take(branch)
        return search

    def encode(self, text: str) -> list[int]:
        """Token ids."""
        return self.engine.codec.encode(text)

    def decode(
        self, given: list[list[int]], branches: Sequence[Branch], params: SamplingParams
    ) -> list[list[int]]:
        """What each says behind its text."""
        raise NotImplementedError


class Naive(Sequences):
    """One after another by `generate` of transformers, nothing shared."""

    def decode(
        self, given: list[list[int]], branches: Sequence[Branch], params: SamplingParams
    ) -> list[list[int]]:
        """As `Sequences`."""
        found = []
        for ids, branch in zip(given, branches, strict=True):
            if not branch.tokens:
                found.append([])
                continue
            torch.manual_seed(hash((params.seed, branch.path)) % 2**31)
            model: Any = self.model
            drawn = {"do_sample": True, "temperature": params.temperature, "top_k": 0, "top_p": 1.0}
            out = model.generate(
                torch.tensor([ids]),
                attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                max_new_tokens=branch.tokens,
                stop_strings=list(branch.stop) or None,
                tokenizer=self.engine.tokenizer,
                pad_token_id=0,
                **(drawn if params.temperature > 0 else {"do_sample": False}),
            )
            new = out[0, len(ids) :].tolist()
            self.outcome.computed += len(ids) + max(0, len(new) - 1)
            self.outcome.passes += len(new)
            found.append(new)
        return found

    model: Any = None


class Batched(Sequences):
    """All that is open as one batch of this engine, prompts with a common beginning fed once."""

    def decode(
        self, given: list[list[int]], branches: Sequence[Branch], params: SamplingParams
    ) -> list[list[int]]:
        """As `Sequences`."""
        engine, found = self.engine, dict[int, list[int]]()
        requests = {}
        for i, (ids, branch) in enumerate(zip(given, branches, strict=True)):
            if not branch.tokens:
                found[i] = []
                continue
            seed = hash((params.seed, branch.path)) % 2**31
            own = replace(params, max_new_tokens=branch.tokens, stop=branch.stop, seed=seed)
            requests[engine.add({"token_ids": ids}, own).number] = i
        while engine.core.busy:
            ran = engine.core.scheduler.running or engine.core.scheduler.queued
            self.outcome.passes += bool(ran)
            for request in engine.step():
                stats = request.stats
                fed = len(request.prompt) - request.prefix.shared + stats.fed
                self.outcome.computed += fed
                found[requests[request.number]] = [t for t, _, _ in request.trunk.tokens()]
        return [found[i] for i in range(len(given))]


def problems(task: Task, args: argparse.Namespace) -> list[tuple[str, Task]]:
    """(problem, the task with its checker): of a file of GSM8K's rows, or generated."""
    if args.problems:
        rows = list(read_objects(args.problems))[: args.n]
        if task.name == "arithmetic":
            return [(r["question"], arithmetic.check_against(str(r["answer"]))) for r in rows]
        return [(r["problem"], task) for r in rows]
    if task.name == "arithmetic":
        made = arithmetic.generate(args.n, args.seed)
        return [(text, arithmetic.check_against(answer)) for text, answer in made]
    kinds = {"game24": game24.generate, "blocksworld": blocksworld.generate}
    if task.name not in kinds:
        raise SystemExit("a page of your own needs --problems FILE.jsonl")
    return [(text, task) for text in kinds[task.name](args.n, args.seed)]


def run_arm(
    arm: str, engine: Engine, model: Any, source: Any, given: list[tuple[str, Task]], args: Any
) -> Outcome:
    """One arm over all problems."""
    outcome = Outcome()
    settings = SearchSettings(
        strategy=args.strategy,
        width=args.width,
        keep=args.keep,
        depth=args.depth,
        evaluate=args.evaluate,
        early=args.early,
    )
    scheduler = engine.core.scheduler
    scheduler.drafter = Drafter(source, scheduler.spec, scheduler.limits)
    for text, task in given:
        engine.reset()
        params = SamplingParams(temperature=args.temperature, seed=args.seed, mode="linear")
        begin, cpu = time.perf_counter(), time.process_time()
        if arm in ("naive", "batch"):
            ids = engine.prepare(task.prompt(text), params, raw=args.raw).token_ids
            branches = (Naive if arm == "naive" else Batched)(engine, ids, outcome)
            if isinstance(branches, Naive):
                branches.model = model
            search = branches.run(task, settings, params)
            texts = search.texts()
            outcome.thoughts += sum(1 for _ in search.root.walk()) - 1
        else:
            schedule = make_schedule(args.schedule, args.row_budget)
            found = run_search(
                engine, task, text, settings, params, schedule=schedule, raw=args.raw
            )
            if found.error:
                raise SystemExit(found.error)
            stats, texts = found.stats, found.texts
            outcome.computed += stats["prefill"] + stats["rows"]
            outcome.passes += stats["passes"] + 1
            for name in ("sampled", "drafted", "accepted"):
                setattr(outcome, name, getattr(outcome, name) + stats[name])
            outcome.thoughts += stats["nodes"]
        outcome.seconds += time.perf_counter() - begin
        outcome.cpu_seconds += time.process_time() - cpu
        outcome.answers.append(task.read_answer(texts))
        outcome.solved += bool(task.check and texts and task.check(text, texts))
    return outcome


def main() -> None:
    """All arms, one after the other; a table, or a JSON object a line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--draft-model")
    parser.add_argument("--task", default="arithmetic")
    parser.add_argument("--problems", help="JSONL: question and answer, as in GSM8K; or problem")
    parser.add_argument("--n", type=int, default=4)
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--strategy", default="bfs")
    parser.add_argument("--evaluate", default="value", choices=["value", "vote"])
    parser.add_argument("--width", type=int, default=5)
    parser.add_argument("--keep", type=int, default=2)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--early", type=int, default=0)
    parser.add_argument("--schedule", default="fcfs_batch")
    parser.add_argument("--row-budget", type=int, default=256)
    parser.add_argument("--draft-rows", type=int, default=16)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dtype", help="default: float32 on a CPU")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--raw", action="store_true", help="feed the prompt without a template")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    arms = args.arms.split(",")
    if wrong := [arm for arm in arms if arm not in ARMS]:
        parser.error(f"--arms {wrong[0]}: expected {', '.join(ARMS)}")
    if "draft" in arms and not args.draft_model:
        parser.error("--arms draft needs --draft-model")
    loaded = load(args.model, "none", args.dtype)
    sources = {"ngram": open_source("ngram", loaded)}
    if "draft" in arms:
        sources["draft"] = open_source(f"model:{args.draft_model}", loaded)
    limits = EngineLimits(max_draft_rows=args.draft_rows)
    engine = Engine(loaded, limits=limits)  # not owned: `naive` runs the same weights
    given = problems(find_task(args.task), args)
    if not args.json:
        print(
            "| arm | tokens computed | passes | sampled | drafted | right | thoughts | solved | "
            "seconds | CPU s | CPU ms a thought |"
        )
        print("|---|---|---|---|---|---|---|---|---|---|---|")
    for arm in arms:
        done = run_arm(arm, engine, loaded.model, sources.get(arm), given, args)
        if args.json:
            print(json.dumps({"arm": arm, **done.__dict__}), flush=True)
            continue
        rate = f"{done.accepted / done.drafted:.0%}" if done.drafted else "–"
        print(
            f"| {arm} | {done.computed} | {done.passes} | {done.sampled} | {done.drafted} | {rate} "
            f"| {done.thoughts} | {done.solved} of {len(given)} | {done.seconds:.2f} | "
            f"{done.cpu_seconds:.2f} | {1000 * done.cpu_seconds / max(1, done.thoughts):.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
