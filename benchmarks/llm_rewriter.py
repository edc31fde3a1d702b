"""What became of traces that a model was asked to fork: python benchmarks/llm_rewriter.py FILE …

FILE: what `pdata build --rewriter llm` has written. Prints how many traces of each file the model
has forked, has found to have no independent steps, were found dependent by words or by a vote, and
went to the rules since no reply could be used, by reason; and how many of these the rules forked.
"""

import argparse
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from pdata.rules.evidence import BY_MODEL

from pbranch.files.jsonl import read_objects

_UNUSABLE = re.compile(r"by rules, since the model's reply had: ([^(]+?)(?: \(|$)")


def find_outcome(meta: dict[str, Any]) -> str:
    """One of a few words, of a record's `meta`."""
    said = f"{meta.get('note', '')} {meta.get('linear_because', '')}"
    if unusable := _UNUSABLE.search(said):
        return f"no usable reply: {unusable[1]}"
    if any(fork.get("found_by") == BY_MODEL for fork in meta.get("forks", ())):
        return "forked"
    if meta.get("linear") == "dependent steps":
        return "voted down" if said.lstrip().startswith("vote") else "dependent by words"
    return str(meta.get("linear", "linear"))


def count(records: Iterable[dict[str, Any]]) -> tuple[Counter[str], int]:
    """Outcomes, and how many traces the rules forked where the model gave nothing to use."""
    outcomes: Counter[str] = Counter()
    by_rules = 0
    for record in records:
        outcome = find_outcome(record["meta"])
        outcomes[outcome] += 1
        by_rules += outcome.startswith("no usable") and record["meta"]["form"] == "branches"
    return outcomes, by_rules


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+")
    args = parser.parse_args()
    found = {file: count(read_objects(file)) for file in args.files}
    names = sorted({name for outcomes, _ in found.values() for name in outcomes})
    print("| |", " | ".join(found), "|\n|---" + "|---" * len(found) + "|")
    for name in names:
        print(f"| {name} |", " | ".join(str(outcomes[name]) for outcomes, _ in found.values()), "|")
    print("| forked by the rules instead |", " | ".join(str(n) for _, n in found.values()), "|")


if __name__ == "__main__":
    main()
