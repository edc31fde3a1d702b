"""`--push`: a file of trace records as a data set of the Hugging Face hub, with its card.

One commit, and nothing of the repository is replaced unless that is asked for. Imports
huggingface_hub when it sends.
"""

from pathlib import Path
from typing import Any

from pbranch.errors import DataError
from pbranch.files.markdown import as_code, as_text, one_line
from pbranch.files.yaml_page import dump_yaml
from pbranch.format.markers import MARKERS
from pbranch.hf.hub import explain
from pdata.report.statistics import ALL, collect_stats
from pdata.validate import find_problems

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
FIGURES = {
    "records": "records",
    "forked": "of them forked",
    "blocks": "blocks",
    "branches_mean": "branches a block, mean",
    "branch_words_median": "words a branch, median",
    "ideal_ratio": "ideal ratio of passes, in words",
    "linear_ratio": "the same against the linear text",
    "answer_ok_share": "answers that are right, where known",
}
CARD = """---
{head}---
# {title}

Reasoning traces in which steps that do not need one another are marked as branches, so that a model
can learn to decode them side by side. Made by `pdata` of parallel-branches{origin}.

{licence}

## Figures

| | |
|---|---|
{figures}

The ideal ratio is words in all ÷ words on the longest path, outlines and headers counted.

## Format

{file}: one JSON object a line with `id`, `messages` (the prompt), `completion` (the trace with
markers), `answer`, `answer_ok` (whether the trace ends with it; null where unknown), `source`,
`meta`, `schema`, and `tools` where there are any. The markers, in the order in which they come:

{markers}

The text between `topic` and the next marker announces a branch, and the branch starts with it. A
branch may hold a block of its own. Siblings are not meant to see one another.
"""
ROLES = {
    "fork": "opens an outline", "topic": "starts each entry of it", "spawn": "closes it",
    "branch": "opens a branch", "end": "closes a branch", "join": "after the last branch",
}  # fmt: skip


def push(
    path: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    token: str | None = None,
    license: str | None = None,
    force: bool = False,
    dry_run: bool = False,
) -> dict[str, bytes | Path]:
    """Send `path` and its card to `repo_id`; returns what is sent, by its path in the repository.

    license: an id of the hub (`apache-2.0`, `cc-by-4.0`, …). force: replace files that are there
    already. dry_run: send nothing, ask nobody. Raises DataError when the file has a problem, when
    something would be replaced, and when the hub refuses or cannot be reached.
    """
    problem = next(find_problems(path), None)
    if problem:
        raise DataError(f"{problem}; nothing was sent")
    path = Path(path)
    files: dict[str, bytes | Path] = {
        "README.md": make_card(path, repo_id.rpartition("/")[2], license).encode(),
        path.name: path,
    }
    if not dry_run:
        _send(files, repo_id, private, token, force)
    return files


def make_card(path: Path, title: str, license: str | None = None) -> str:
    """The data set's README.md, with figures of `path`. Raises DataError."""
    figures = collect_stats(path)
    stats = figures[ALL]
    license = one_line(license) if license else None
    head = {
        "license": license,
        "task_categories": ["text-generation"],
        "size_categories": [size_category(stats["records"])],
        "tags": ["parallel-branches", "reasoning"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": "train", "path": path.name}],
            }
        ],
    }
    tasks = sorted(set(figures) - {ALL})
    return CARD.format(
        head=dump_yaml({k: v for k, v in head.items() if v}),
        file=as_code(path.name),
        title=as_text(title),
        origin=f" (tasks: {', '.join(map(as_text, tasks))})" if tasks else "",
        licence=f"Licence: {as_text(license)}." if license
        else "No licence is stated; traces keep the licence of what they were made from.",
        figures="\n".join(f"| {label} | {_cell(stats[k])} |" for k, label in FIGURES.items()),
        markers="\n".join(f"- `{m}` ({role.value}) {ROLES[role]}" for role, m in MARKERS.items()),
    )  # fmt: skip


def size_category(records: int) -> str:
    """The hub's name for a data set of so many records."""
    names = ["1K", "10K", "100K", "1M", "10M"]
    i = sum(records >= size for size in SIZES)
    if i == 0:
        return "n<1K"
    return f"{names[i - 1]}<n<{names[i]}" if i < len(names) else "n>10M"


def _cell(value: Any) -> str:
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _send(
    files: dict[str, bytes | Path], repo_id: str, private: bool, token: str | None, force: bool
) -> None:
    from huggingface_hub import CommitOperationAdd, HfApi

    try:
        api = HfApi(token=token)
        there: set[str] = set()
        if api.repo_exists(repo_id, repo_type="dataset"):
            there = set(api.list_repo_files(repo_id, repo_type="dataset"))
        replaced = sorted(there & set(files))
        if replaced and not force:
            raise DataError(
                f"{repo_id}: has {', '.join(replaced)} already; nothing was sent (--force replaces)"
            )
        api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
        api.create_commit(
            repo_id,
            [CommitOperationAdd(name, content) for name, content in files.items()],
            commit_message="Branch-tagged traces",
            repo_type="dataset",
        )
    except DataError:
        raise
    except Exception as e:  # of the hub, of its client, of the connection
        raise DataError(f"{repo_id}: cannot publish ({explain(e)})") from e
