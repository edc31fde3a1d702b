"""Why a fork was made, in words: how its steps were recognised, and what was looked for in vain."""

from pdata.rules.blocks.labels import Kind
from pdata.rules.dependence.independence import CHECKS

BY_MODEL = "model"  # in the place of a kind: the proposal of a language model
_WORDS = {
    Kind.marked: "marks of steps",
    Kind.counted: "numbers or letters that count them",
    Kind.heading: "headings",
    Kind.titled: "titles of the prompt's words",
    Kind.named: "names that the prompt has",
    Kind.bold: "bold titles",
    Kind.bulleted: "bullets",
    Kind.worked: "lines of arithmetic",
    Kind.headed: "titles on lines of their own",
    BY_MODEL: "a language model",
}
_SIGNS = (*(check.__name__.removeprefix("check_") for check in CHECKS), "sequence", "chain")
_OF_ARITHMETIC = ("pointer", "symbol", "number", "result")


def describe_evidence(found_by: str) -> tuple[str, tuple[str, ...]]:
    """(what its steps were recognised by, the signs of dependence that were not found)."""
    signs = _OF_ARITHMETIC if found_by == Kind.worked else _SIGNS
    return _WORDS.get(found_by, found_by), signs
