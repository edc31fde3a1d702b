"""Mutates small files, seeded: a value of another type, a key less, a torn file, deep or endless
JSON, hostile templates; and runs a command on them as a process would.
"""

import json
import random
import resource
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pbranch import console

WILD: list[Any] = [
    None, 7, -1, 0, 10**30, 10**9, True, 1.5, float("nan"), float("inf"), "x", "", "a\0b",
    "\x1b[31m", "\ud800", "../../etc/passwd", [], {}, [None], ["x"], {"a": {"b": []}}, "x" * 10_000,
]  # fmt: skip
TEMPLATES = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{{ 'a' * 3000000000 }}",
    "{% set ns = namespace(x='a' * 1000) %}{% for a in range(99999) %}"
    "{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{% set x = 9 ** (9 ** 9) %}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% for %}",
    "{{" + "(" * 3000 + "1" + ")" * 3000 + "}}",
    "fixed text",
    "",
    "{{ raise_exception('\x1b]0;TITLE\x07') }}",
    "{{ messages[7].content }}",
    "{{ 'hello ' * 2000000 }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{% include '/etc/passwd' %}",
    "{{ '%1000000000d' | format(1) }}",
    "{{ 'x'.ljust(3000000000) }}",
    "{{ lipsum(n=10000000) }}",
]


def spoil(path: Path, draw: random.Random) -> str:
    """Change a file that holds JSON, a template or anything; says how."""
    if path.suffix == ".jinja":
        path.write_text(draw.choice(TEMPLATES) + draw.choice(["", path.read_text()]))
        return "template"
    how = draw.choice(["value"] * 10 + ["key", "torn", "gone", "bytes", "deep", "digits", "list"])
    if path.suffix == ".safetensors" and how not in ("torn", "gone", "bytes"):
        how = "bytes"
    if how in ("value", "key"):
        stored = json.loads(path.read_text(encoding="utf-8"))
        key = _change(stored, draw, how)
        path.write_text(json.dumps(stored))
        return f"{how} {key}"
    data = path.read_bytes()
    match how:
        case "torn":
            path.write_bytes(data[: draw.randrange(len(data))])
        case "gone":
            path.unlink()
        case "bytes":
            at = draw.randrange(min(len(data), 4000))
            path.write_bytes(data[:at] + draw.randbytes(8) + data[at + 8 :])
        case "deep":
            path.write_text('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}")
        case "digits":
            path.write_text('{"a": ' + "9" * 10_000 + "}")
        case "list":
            path.write_text("[]")
    return how


def _change(value: dict[str, Any], draw: random.Random, how: str) -> str:
    """One key of an object, or of one inside it, gets a wild value, or goes."""
    key = draw.choice(sorted(value))
    inside = value[key]
    if isinstance(inside, dict) and inside and draw.random() < 0.6:
        return f"{key}.{_change(inside, draw, how)}"
    if isinstance(inside, list) and inside and draw.random() < 0.3:
        inside[draw.randrange(len(inside))] = draw.choice(WILD)
    elif how == "key":
        del value[key]
    else:
        value[key] = draw.choice(WILD)
    return key


def spoil_yaml(text: str, draw: random.Random) -> str:
    """A page with a wild value, or that is hardly YAML."""
    how = draw.choice(["value"] * 6 + ["key", "torn", "insert", "bomb", "deep", "tag"])
    match how:
        case "value" | "key":
            page = yaml.safe_load(text)
            _change(page, draw, how)
            return yaml.safe_dump(page)
        case "torn":
            return text[: draw.randrange(len(text))]
        case "insert":
            at = draw.randrange(len(text))
            signs = draw.choice(
                ["\t", ":", "- ", "{", "[", "*a", "&a ", "!!", "\x07", "? ", "'", "%"]
            )
            return text[:at] + signs + text[at:]
        case "bomb":
            lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
            for i in range(1, 9):
                lines.append(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]")
            return text + "\n".join(lines)
        case "deep":
            return text + "x: " + draw.choice(["[", "{a: "]) * draw.randrange(1000, 50_000)
    tag = draw.choice(["python/object/apply:os.system [x]", "int x", "timestamp x", "binary '*'"])
    return text + f"x: !!{tag}\n"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command left. seconds: of processor time; grown: bytes of memory beyond before."""

    code: int
    error: str
    seconds: float
    grown: int


def run_app(call: Callable[[], Any], capsys: pytest.CaptureFixture[str]) -> Outcome:
    """`call` as a command runs it, in this process. Whatever would be a traceback is raised."""
    capsys.readouterr()
    before, began, code = _peak(), time.process_time(), 0
    try:
        console.run(call)
    except SystemExit as e:
        code = int(e.code or 0)
    seconds = time.process_time() - began
    return Outcome(code, capsys.readouterr().err, seconds, _peak() - before)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def copy_fresh(source: Path, to: Path) -> Path:
    """`source` at `to`, in the place of an earlier copy."""
    shutil.rmtree(to, ignore_errors=True)
    return Path(shutil.copytree(source, to))
