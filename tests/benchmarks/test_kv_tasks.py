"""What the tasks of bounded caches teach is right, and nothing of it is held out."""

import re
from typing import Any

from benchmarks import kv_tasks


def test_every_line_reads_the_registers_above_it() -> None:
    train, held_out = kv_tasks.all_digits()
    assert not set(train) & set(held_out)
    for record in kv_tasks.make_records(40, seed=3):
        if record.source != "milestone":
            continue
        held: dict[str, int] = {}
        said, first, last = re.fullmatch(
            r"Registers (.*) from (\d+) to (\d+)", record.prompt
        ).groups()  # type: ignore[union-attr]
        numbers: list[int] = []
        for line in (said, *record.completion.splitlines()):
            if line.startswith("####"):
                assert line == "#### " + "".join(map(str, following(held).values()))
            elif line[0].isdigit():
                number, name, digit = re.fullmatch(r"(\d{3}) ([a-d])(\d)", line).groups()  # type: ignore[union-attr]
                assert (held[name.upper()] + int(number)) % 10 == int(digit)
                numbers.append(int(number))
            else:
                now = {name: int(digit) for name, digit in line.split()}
                assert now == following(held) if held else tuple(now.values()) in set(train)
                held = now
        assert numbers == list(range(int(first), int(last) + 1)) and len(numbers) == 75
    for row in kv_tasks.make_problems("milestone", 100, seed=3):
        digits = re.findall(r"[A-D](\d)", row["prompt"])
        assert tuple(map(int, digits)) in set(held_out)


def following(held: dict[str, int]) -> dict[str, int]:
    a, b, c, d = held.values()
    return {"A": (b + 1) % 10, "B": (c + 1) % 10, "C": (d + 1) % 10, "D": (a + 1) % 10}


def test_recall_counts_and_then_says_the_digits_of_the_prompt() -> None:
    rows: list[dict[str, Any]] = [r for r in map(read_recall, kv_tasks.make_records(40, 3)) if r]
    assert len(rows) == 20
    for row in rows:
        first, last = row["range"]
        assert row["counted"] == list(range(first, last + 1)) and row["said"] == row["digits"]
    trained = {row["digits"] for row in rows}
    assert trained.isdisjoint(row["answer"] for row in kv_tasks.make_problems("recall", 100, 3))


def read_recall(record: Any) -> dict[str, Any] | None:
    asked = re.fullmatch(r"Keep (\d{4}) and count from (\d+) to (\d+)", record.prompt)
    if asked is None:
        return None
    counted, said = record.completion.split("\n#### ")
    numbers = [int(n) for n in counted.split()]
    span = int(asked[2]), int(asked[3])
    return {"digits": asked[1], "range": span, "counted": numbers, "said": said}


def test_every_register_is_read_from_the_first_lines_of_a_block_to_the_last() -> None:
    for first in range(0, 100, kv_tasks.LINES):
        block = kv_tasks.READ[first : first + kv_tasks.LINES]
        assert all(x in block[:15] and x in block[-10:] for x in range(4))
