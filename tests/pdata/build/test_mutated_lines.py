"""One bad line among good ones is set aside, whatever is wrong with it: never a traceback, and the
good ones come out."""

import json
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from pdata.build.convert import convert
from pdata.build.distill import Criteria, distill
from pdata.build.pipeline import build
from pdata.build.process_line import LineOptions, process_line
from pdata.record import Rejection
from pdata.report.html import write_html
from pdata.report.statistics import collect_stats
from pdata.roles.schemas import Schemas
from pdata.rules.rewriter import Rewrite
from pdata.validate import find_problems

from pbranch.errors import BranchError, DataError
from pbranch.files.jsonl import JsonLine
from tests.pdata.build.test_distill import load, tagged

MUTATIONS = int(os.environ.get("MUTATIONS", "500"))


def record(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": name, "messages": [{"role": "user", "content": "Who? Ann Lee, Bert Moor, Cleo Dane"}],
        "completion": tagged(), "answer": "Cleo Dane", "answer_ok": None, "source": "s",
        "meta": {}, "schema": 1, **changes,
    }  # fmt: skip


def nest(levels: int) -> str:
    text = "a"
    for _ in range(levels):
        text = tagged(topics=("a", "b")).replace("a: plum plum plum.", f"a{text}")
    return text


def dump(row: Any) -> bytes:
    return json.dumps(row).encode()


ODD: dict[str, bytes] = {
    "deep list": b'{"id": "d", "prompt": "q", "response": "a", "meta": ' + b"[" * 10**5 + b"}",
    "deep row": dump(record("d"))[:-1] + b', "x": ' + b'{"a":' * 500 + b"1" + b"}" * 501,
    "digits": b'{"id": "i", "prompt": "q", "completion": "a", "n": ' + b"9" * 10_000 + b"}",
    "nan": dump(record("n", meta={"score": float("nan"), "high": float("inf")})),
    "infinite": dump(record("n"))[:-1].replace(b'"meta": {}', b'"meta": {"x": 1e999}') + b"}",
    "separators": dump(record("s", meta={"separators": 5})),
    "separators inside": dump(record("s", meta={"separators": [[1]]})),
    "separators text": dump(record("s", meta={"separators": "ab"})),
    "surrogate": b'{"id": "\\ud800", "prompt": "\\udc00", "completion": "x"}',
    "latin-1": b'{"id": "u", "prompt": "\xe9", "completion": "x"}',
    "types": dump(record("t", messages="x", completion=[1], answer={}, meta=[])),
    "no message": dump(record("t", messages=[None])),
    "list": b"[1, 2]",
    "nul": dump(record("n\0", completion="a\0b")),
    "nul byte": b'{"id": "n", "prompt": "a\0b", "completion": "x"}',
    "nested": dump(record("n", completion=nest(150))),
}


def read_all(folder: Path, odd: bytes) -> None:
    """Every command that reads traces, on a bad line between two good ones."""
    file, out = folder / "f.jsonl", folder / "o.jsonl"
    file.write_bytes(dump(record("g1")) + b"\n" + odd + b"\n" + dump(record("g2")) + b"\n")
    counts = build(str(file), out).as_dict()
    assert counts["in"] == counts["out"] + counts["rejected"] >= 2
    assert {"g1", "g2"} <= {row["id"] for row in load(out)}
    for path in (out, out.with_name("o.rejected.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            json.loads(line, parse_constant=pytest.fail)
    assert build(str(file), out, resume=True).as_dict() == counts
    generated = {**record("g1"), "tagged_text": tagged(), "finish_reason": "stop"}
    (folder / "g.jsonl").write_bytes(dump(generated) + b"\n" + odd + b"\n")
    assert distill(folder / "g.jsonl", out, criteria=Criteria(unknown=True))["out"] >= 1
    assert convert(str(file), out, "paper")["in"] >= 2
    list(find_problems(file))
    for read in (collect_stats, lambda path: write_html(path, folder / "r.html")):
        try:
            read(file)
        except BranchError as e:
            assert "f.jsonl:2" in str(e) and "\n" not in str(e)


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_a_bad_line_is_set_aside(tmp_path: Path, odd: bytes) -> None:
    read_all(tmp_path, odd)


def mutate(rng: random.Random) -> bytes:
    """A record with a value of another kind, bytes cut, doubled, changed, or markers moved."""
    row = record(f"m{rng.randrange(9)}", meta={"separators": ["\n"], "independence": [0.5]})
    values: list[Any] = [
        None, 0, -1, 1e308, 10**400, float("nan"), True, "", "x", "\0", "\ud800", "[/b]", [], {},
        [None], [[1]], {"a": {}}, "x" * 5000, tagged()[:70], nest(rng.randrange(1, 130)),
    ]  # fmt: skip
    for _ in range(rng.randint(1, 3)):
        place: Any = rng.choice([row, row, row["meta"], row["messages"]])
        if isinstance(place, dict) and place:
            place[rng.choice([*place, "extra"])] = rng.choice(values)
        elif isinstance(place, list):
            place.append(rng.choice(values))
        if not isinstance(row.get("meta"), dict) or not isinstance(row.get("messages"), list):
            break
    data = bytearray(dump(row))
    for _ in range(rng.choice([0, 0, 1, 3])):
        at = rng.randrange(len(data))
        piece = data[at : at + rng.randint(1, 40)]
        end = at + rng.choice([0, len(piece)])
        data[at:end] = rng.choice([b"", piece + piece, b"\xff", b"{"])
    return bytes(data).replace(b"\n", b" ")


@pytest.mark.slow
def test_mutated_lines(tmp_path: Path) -> None:
    """MUTATIONS: how many."""
    for seed in range(MUTATIONS):
        begin = time.monotonic()
        try:
            read_all(tmp_path, mutate(random.Random(seed)))
        except Exception as e:
            raise AssertionError(f"seed {seed}") from e
        assert time.monotonic() - begin < 30, seed


def test_what_fails_in_a_line_is_not_the_end(tmp_path: Path) -> None:
    """A mistake of ours in one line costs that line; a server that is gone ends the run."""

    def rewrite(text: str, prompt: str) -> Rewrite:
        raise error

    line = JsonLine("f", 1, '{"prompt": "q", "completion": "a"}')
    schemas = Schemas()
    error: Exception = RecursionError("too deep")
    options = LineOptions(schemas, rewrite)
    found = process_line(options, line)
    assert isinstance(found, Rejection)
    error = DataError("the server is gone")
    file = tmp_path / "f.jsonl"
    file.write_text(line.text + "\n")
    with pytest.raises(DataError, match="the server is gone"):
        build(str(file), tmp_path / "o.jsonl", rewriter=rewrite)
    error = RecursionError("too deep")
    counts = build(str(file), tmp_path / "o.jsonl", rewriter=rewrite).as_dict()
    assert counts["rejected_by_reason"] == {"failed": 1}
    assert "RecursionError: too deep" in load(tmp_path / "o.rejected.jsonl")[0]["detail"]
