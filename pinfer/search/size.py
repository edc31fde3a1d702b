"""How large a tree may become: cached tokens and positions. Refuses what cannot fit."""

from collections.abc import Callable

from pbranch.errors import RequestError
from pinfer.search.tasks.task import Task
from pinfer.search.tree.settings import SearchSettings


def most_rows(task: Task, settings: SearchSettings, count: Callable[[str], int]) -> int:
    """Cached tokens that a tree may hold at once beside its prompt, at most. count: tokens of a
    text."""
    thought, rating = _thought(task, settings, count), _rating(task, settings, count)
    width, depth, keep = settings.width, settings.depth, settings.keep
    growing = keep * width  # thoughts of a round
    standing, rounds = keep * depth, 1  # those before it; rounds whose early ones may be open
    if settings.strategy == "dfs":
        growing, standing, rounds = width, (width + 1) * depth, depth
    elif settings.strategy == "best":
        standing, rounds = width * settings.expansions, settings.expansions
    early = settings.early * width * rounds
    rows = (growing + standing + early) * thought + growing * settings.evaluations * rating
    page = task.page
    if settings.generate == "propose":
        listing = count(task.propose_header(width)) + page.propose_tokens
        rows += (keep + settings.early * rounds) * listing
    if settings.evaluate == "vote":  # the thoughts are listed again
        rows += settings.evaluations * (growing * depth * thought + 4 * growing)
    return rows + (count(page.answer) + page.answer_tokens if page.answer else 0)


def check_size(
    task: Task,
    settings: SearchSettings,
    count: Callable[[str], int],
    prompt: int,
    context: int,
    room: int | None,
) -> int:
    """`most_rows`. RequestError where the tree fits neither into `room` tokens, its prompt of
    so many included, nor into the positions of a context. room: None without limit."""
    rows = most_rows(task, settings, count)
    shape = f"width {settings.width}, keep {settings.keep}, depth {settings.depth}"
    if room is not None and prompt + rows > room:
        raise RequestError(
            f"{shape}: prompt and tree may hold {prompt + rows:,} tokens at once, and there is "
            f"memory for {room:,}; expected a smaller tree, or more memory (max_memory)"
        )
    longest = settings.depth * _thought(task, settings, count)
    longest += max(
        _rating(task, settings, count), count(task.page.answer) + task.page.answer_tokens
    )
    if prompt + longest > context:
        raise RequestError(
            f"{shape}: a path may reach position {prompt + longest:,}, and the model's context "
            f"holds {context:,}; expected fewer or shorter thoughts"
        )
    return rows


def _thought(task: Task, settings: SearchSettings, count: Callable[[str], int]) -> int:
    """Tokens of a thought, with what it begins with. One that was listed is no longer than the list
    that it stands in."""
    header = max(count(task.thought_header(step + 1)) for step in range(settings.depth))
    page = task.page
    return header + (
        page.thought_tokens if settings.generate == "sample" else page.propose_tokens + 2
    )


def _rating(task: Task, settings: SearchSettings, count: Callable[[str], int]) -> int:
    page = task.page
    if settings.evaluate == "logprob":
        return count(page.judge) + count(page.expected) + 1
    if settings.evaluate == "vote":
        return count(page.vote) + page.vote_tokens
    return count(page.value) + page.value_tokens
