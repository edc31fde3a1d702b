"""Reads YAML that may come from a stranger: plain values, without what makes a small text huge.
Writes what it reads back as it was.

A recipe comes with every adapter. Refused are aliases (nine lines of them stand for a billion
values), deep nesting, a key given twice, endless integers and long texts. Knows no recipe.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any

import yaml

LONGEST = 1 << 16  # characters of a page: PyYAML reads 50,000 a second, recipes have 3,000
DEEPEST = 32  # levels of lists and mappings
WIDEST = 4096  # bits of an integer: Python writes no much longer one in digits


class YamlError(ValueError):
    """What is wrong with a page, and the line, counted from 1, where that is known."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem)
        self.line = line


def read_yaml(text: str) -> Any:
    """The value of a page: None, bool, int, float, str, and lists and mappings of these.

    Raises YamlError.
    """
    if len(text) > LONGEST:
        raise YamlError(f"longer than {LONGEST:,} characters")
    try:
        page = yaml.load(text, _Loader)
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        problem = str(getattr(e, "problem", None) or e).strip().splitlines()[0]
        raise YamlError(problem, mark.line + 1 if mark else None) from e
    except Exception as e:  # of PyYAML's constructors, on a tag whose text does not fit
        raise YamlError(f"a value that cannot be read ({_shorten(str(e))})") from e
    return _check(page)


def dump_yaml(page: Mapping[str, Any]) -> str:
    """A page of plain values, its keys in their order."""
    return str(yaml.dump(page, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


class _Dumper(yaml.SafeDumper):
    """A safe dumper that escapes line breaks other than a newline: read as they stand, a text has
    spaces in their place."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = '"' if set(text) & {"\x85", "\u2028", "\u2029"} else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


class _Loader(yaml.SafeLoader):
    """A safe loader that counts levels, and refuses aliases and a key given twice."""

    _level = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Raises a MarkedYAMLError on an alias, and on a value that lies too deep."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            _refuse(f"alias *{event.anchor}: expected the value itself", event.start_mark)
        self._level += 1
        if self._level > DEEPEST:
            _refuse(f"more than {DEEPEST} levels", self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self._level -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Raises a MarkedYAMLError on the second of two equal keys."""
        seen = set()
        for key in (k for k, _ in node.value if isinstance(k, yaml.ScalarNode)):
            if key.value in seen:
                _refuse(f"key {_shorten(key.value)} is here twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _refuse(problem: str, mark: Any) -> None:
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _check(value: Any, where: str = "") -> Any:
    """`value` with dates as text; `where`: its key. Raises YamlError on what JSON cannot hold."""
    if isinstance(value, Mapping):
        return {_check(k, where): _check(v, f"{where}.{k!s:.40}") for k, v in value.items()}
    if isinstance(value, list):
        return [_check(item, where) for item in value]
    key = f"{where.lstrip('.')}: " if where else ""
    if isinstance(value, int) and value.bit_length() > WIDEST:
        bits = value.bit_length()
        raise YamlError(f"{key}found a number of {bits} bits, expected at most {WIDEST}")
    if isinstance(value, date):
        return str(value)
    if isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
        raise YamlError(f"{key}half of a surrogate pair is no text")
    if value is None or isinstance(value, str | int | float):
        return value
    raise YamlError(f"{key}found {type(value).__name__}, expected text, numbers, lists or mappings")


def _shorten(text: str) -> str:
    return text if len(text) <= 80 else text[:80] + "…"
