"""The contract of a task: the texts that branches begin with, and what is read from their ends.

A page holds the texts and patterns; Python adds what they cannot say: a checker, and what makes two
paths the same state. Knows no model.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from pbranch.errors import RecipeError, RequestError
from pbranch.files.recipe import load_recipe

# what of a page may hold which names in braces
_PLACES = {"prompt": "problem", "thought": "step", "propose": "count", "vote": "candidates"}
_PATTERNS = ("final", "value_pattern", "vote_pattern", "answer_pattern")


@dataclass(frozen=True, slots=True)
class TaskPage:
    """The texts of a task, as a YAML page names them. Every branch goes on with the text of its
    path, so what it begins with is written as the continuation of that text.

    prompt: the user's message, {problem} in it. thought: how a thought begins, {step} its number;
    it ends at a `stop` string, or after thought_tokens. final: a pattern that the last thought of a
    whole answer matches. value: how a rating begins; value_pattern finds it in what is sampled,
    value_words gives numbers to words; it lies between lowest and highest. judge: how the question
    begins that the word `expected` says yes to. vote: how a vote begins, {candidates} the thoughts
    by number; vote_pattern finds the number. propose: how a list of {count} thoughts begins, one a
    line. answer: what makes a path that is no whole answer one. answer_pattern: finds the answer in
    the text of a path, "" for the last thought. A pattern's first group counts, where it has one.
    """

    prompt: str
    thought: str
    stop: tuple[str, ...] = ("\n",)
    thought_tokens: int = 64
    final: str = ""
    value: str = ""
    value_tokens: int = 8
    value_pattern: str = r"-?\d+(?:\.\d+)?"
    value_words: dict[str, float] = field(default_factory=dict)
    lowest: float = 0.0
    highest: float = 10.0
    judge: str = ""
    expected: str = " yes"
    vote: str = ""
    vote_tokens: int = 8
    vote_pattern: str = r"\d+"
    propose: str = ""
    propose_tokens: int = 160
    answer: str = ""
    answer_tokens: int = 32
    answer_pattern: str = ""

    def __post_init__(self) -> None:
        for key in ("prompt", "thought"):
            if not getattr(self, key).strip():
                raise RecipeError(f"{key}: expected a text, found none")
        for key, place in _PLACES.items():
            text = getattr(self, key)
            if text and key != "thought" and "{" + place + "}" not in text:
                raise RecipeError(f"{key}: expected {{{place}}} in it")
        for key in _PATTERNS:
            try:
                re.compile(getattr(self, key))
            except re.error as e:
                raise RecipeError(f"{key}: not a regular expression ({e})") from e
        for key in (f.name for f in fields(self) if f.name.endswith("_tokens")):
            if getattr(self, key) < 1:
                raise RecipeError(f"{key} {getattr(self, key)}: expected 1 or more")
        if not self.lowest < self.highest:
            raise RecipeError(f"highest {self.highest}: expected more than lowest, {self.lowest}")


@dataclass(frozen=True, slots=True)
class Task:
    """A page, and what Python adds. check: whether an answer to a problem is right, given the
    thoughts that led to it; state: what of a path decides about all that may follow, as a text."""

    name: str
    page: TaskPage
    check: Callable[[str, Sequence[str]], bool] | None = None
    state: Callable[[Sequence[str]], str] | None = None

    def prompt(self, problem: str) -> str:
        """The user's message."""
        return _fill(self.page.prompt, problem=problem)

    def thought_header(self, step: int) -> str:
        """What thought number `step` of a path begins with."""
        return _fill(self.page.thought, step=step)

    def read_value(self, text: str) -> float | None:
        """The rating in what an evaluation has said, None where there is none."""
        found = _first(self.page.value_pattern, text)
        words = {word.lower(): value for word, value in self.page.value_words.items()}
        if words:
            said = re.findall("|".join(map(re.escape, words)), text.lower())
            return words[said[0]] if said else None
        try:
            value = float(found) if found is not None else None
        except ValueError:
            return None
        return (
            value if value is not None and self.page.lowest <= value <= self.page.highest else None
        )

    def read_vote(self, text: str, candidates: int) -> int | None:
        """Which candidate, counted from 0, a vote is for; None where it is for none."""
        found = _first(self.page.vote_pattern, text)
        number = int(found) if found and found.isdecimal() else 0
        return number - 1 if 1 <= number <= candidates else None

    def vote_header(self, candidates: Sequence[Sequence[str]]) -> str:
        """What a vote begins with; candidates: the thoughts of each path."""
        listed = (f"{i}. {' '.join(' '.join(x).split())}" for i, x in enumerate(candidates, 1))
        return _fill(self.page.vote, candidates="\n".join(listed))

    def propose_header(self, count: int) -> str:
        """What a list of thoughts begins with."""
        return _fill(self.page.propose, count=count)

    def read_proposals(self, text: str, count: int) -> list[str]:
        """The first `count` thoughts of a list, without numbers and bullets, each once."""
        lines = (re.sub(r"^\s*(?:[-*•]|\d+[.)])?\s*", "", x).rstrip() for x in text.splitlines())
        return [*dict.fromkeys(line for line in lines if line)][:count]

    def is_final(self, text: str) -> bool:
        """Whether a thought is the last one of a whole answer."""
        return bool(self.page.final) and re.search(self.page.final, text) is not None

    def state_of(self, texts: Sequence[str]) -> str:
        """Equal for paths after which the same may follow."""
        return self.state(texts) if self.state else " ".join(" ".join(texts).split())

    def read_answer(self, texts: Sequence[str]) -> str:
        """The answer in the thoughts of a path, the last thought where there is no pattern."""
        last = texts[-1].strip() if texts else ""
        if not self.page.answer_pattern:
            return last
        every = re.findall(self.page.answer_pattern, "\n".join(texts))
        found = every[-1] if every else ""
        return (found if isinstance(found, str) else next(filter(None, found), "")).strip()

    def require(self, key: str, why: str) -> None:
        """RequestError where the page has no text under a key that is needed."""
        if not getattr(self.page, key):
            raise RequestError(f"task {self.name}: missing key {key}, which {why} needs")


def load_page(path: Path) -> Task:
    """A user's task. RecipeError names the file, and the key that is missing, unknown or wrong."""
    return Task(path.stem, load_recipe(TaskPage, path))


def _fill(text: str, **values: object) -> str:
    for name, value in values.items():
        text = text.replace("{" + name + "}", str(value))
    return text


def _first(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return None if found is None else found[1] if found.re.groups else found[0]
