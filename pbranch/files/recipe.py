"""Reads a run's recipe: dataclass defaults, then one YAML page, then `key=value` overrides.

Strict: an unknown key or a value of the wrong type is an error that names the nearest valid key.
A recipe may be wrapped so that `accelerate launch recipe.yaml` runs it as Python; see `recipes/`.
Knows nothing about training: a schema is any frozen dataclass, nested ones being sections.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pbranch.errors import RecipeError, did_you_mean
from pbranch.files.yaml_page import LONGEST, YamlError, dump_yaml, read_yaml

T = TypeVar("T")
INFINITE = {int: 2**63, float: float("inf")}  # what a number must be below
LAUNCH_KEY = "ptrain"  # the polyglot first line `ptrain: r"""` is a key to YAML; it is dropped


def load_recipe(schema: type[T], path: str | Path | None, overrides: Sequence[str] = ()) -> T:
    """Merge defaults of `schema`, the YAML page at `path` and `overrides` (`a.b=value`).

    Raises RecipeError on a missing or broken page, an unknown key, or a value of the wrong type.
    """
    page = {} if path is None else _read_page(Path(path))
    origin = "defaults" if path is None else str(path)
    recipe = _merge(schema, page, origin, "")
    for item in overrides:
        key, sep, text = item.partition("=")
        if not sep:
            raise RecipeError(f"override {item!r}: expected key=value")
        nested: Any = _parse_scalar(text)
        for part in reversed(key.split(".")):
            nested = _One({part: nested})
        recipe = _merge(schema, nested, "command line", "", base=recipe)
    return recipe


def dump_recipe(recipe: Any) -> str:
    """The merged recipe as YAML; `load_recipe` of it gives an equal recipe."""
    return dump_yaml(dataclasses.asdict(recipe))


class _One(dict[str, Any]):
    """One key of a section or a mapping, as an override names it: the others stay."""


def _read_page(path: Path) -> Mapping[str, Any]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(LONGEST + 1)  # a device may never end
    except OSError as e:
        raise RecipeError(f"{path}: cannot read recipe ({e.strerror})") from e
    except UnicodeDecodeError as e:
        raise RecipeError(f"{path}: cannot read recipe ({e})") from e
    try:
        page = read_yaml(text)
        page = {} if page is None else page
    except YamlError as e:
        line = f":{e.line}" if e.line else ""
        raise RecipeError(f"{path}{line}: not YAML: {e}") from e
    if not isinstance(page, Mapping):
        raise RecipeError(f"{path}: expected a mapping of keys, found {type(page).__name__}")
    if str(page.get(LAUNCH_KEY, "")).startswith('r"""') and text.count('"""') != 2:
        raise RecipeError(f'{path}: a recipe that accelerate can launch may not contain """')
    return {k: v for k, v in page.items() if k != LAUNCH_KEY}


def _parse_scalar(text: str) -> Any:
    try:
        value = read_yaml(text)
    except YamlError as e:
        raise RecipeError(f"override value {show(text)} is not YAML: {e}") from e
    return text if isinstance(value, str) else value


def _merge(schema: type[T], page: Any, origin: str, prefix: str, base: T | None = None) -> T:
    if not isinstance(page, Mapping):
        where = prefix.rstrip(".") or "recipe"
        raise RecipeError(f"{origin}: {where}: expected a section of keys, found {show(page)}")
    fields = {f.name: f for f in dataclasses.fields(schema)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(schema)
    changes: dict[str, Any] = {}
    for key, value in page.items():
        if key not in fields:
            key = str(key)[:80]
            hint = did_you_mean(key, list(fields), prefix) or f"; keys: {', '.join(fields)}"
            raise RecipeError(f"{origin}: unknown key {prefix}{key}{hint}")
        kind: Any = hints[key]
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            inner = getattr(base, key) if base is not None else None
            changes[key] = _merge(kind, value, origin, f"{prefix}{key}.", inner)
        else:
            if isinstance(value, _One) and isinstance(old := getattr(base, key, None), dict):
                value = {**old, **value}
            changes[key] = _convert(value, kind, origin, f"{prefix}{key}")
    try:
        return dataclasses.replace(base, **changes) if base is not None else schema(**changes)  # type: ignore[type-var]
    except RecipeError as e:
        raise RecipeError(f"{origin}: {e}") from e
    except TypeError as e:
        missing = [n for n, f in fields.items() if _required(f) and n not in changes]
        raise RecipeError(f"{origin}: missing key {prefix}{missing[0] if missing else e}") from e


def _is_bounded(value: Any) -> bool:
    """Whether all numbers in a value of any type are finite, and integers of 64 bits."""
    if isinstance(value, Mapping | list):
        return all(map(_is_bounded, value.values() if isinstance(value, Mapping) else value))
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) < INFINITE[int]


def show(value: Any) -> str:
    """A value in a message: its beginning, where it is long."""
    text = repr(value)
    return text if len(text) <= 100 else text[:100] + "…"


def _required(field: dataclasses.Field) -> bool:
    none = dataclasses.MISSING
    return field.default is none and field.default_factory is none


def _convert(value: Any, kind: Any, origin: str, key: str) -> Any:
    """`value` as type `kind`; numbers may be written as YAML strings such as 1e-4."""
    arms, form = typing.get_args(kind), typing.get_origin(kind)
    if form in (typing.Union, types.UnionType):
        if value is None and type(None) in arms:
            return None
        for arm in (a for a in arms if a is not type(None)):
            try:
                return _convert(value, arm, origin, key)
            except RecipeError:
                continue
    elif form is Literal:
        # YAML 1.1 reads a bare on/off as a boolean; where the choice is among those, take it so
        if isinstance(value, bool) and {"on", "off"} <= set(arms):
            value = "on" if value else "off"
        if value in arms:
            return value
        choices = list(map(str, arms))
        hint = did_you_mean(str(value)[:80], choices)
        expected = ", ".join(choices)
        raise RecipeError(f"{origin}: {key}: found {show(value)}, expected one of {expected}{hint}")
    elif form in (tuple, list) and isinstance(value, list | tuple):
        return form(_convert(v, arms[0], origin, f"{key}[{i}]") for i, v in enumerate(value))
    elif form is dict and isinstance(value, Mapping):
        return {str(k): _convert(v, arms[1], origin, f"{key}.{k}") for k, v in value.items()}
    elif kind is Any and _is_bounded(value):
        return value
    elif kind is bool and isinstance(value, bool):
        return value
    elif kind in (int, float) and not isinstance(value, bool):
        try:
            number = kind(value)
            whole = kind is float or isinstance(value, str) or number == value
            if whole and abs(number) < INFINITE[kind]:  # not so of nan
                return number
        except (TypeError, ValueError, OverflowError):
            pass
    elif kind is str and isinstance(value, str | int | float):
        return str(value)
    name = "bounded numbers" if kind is Any else getattr(kind, "__name__", str(kind))
    raise RecipeError(f"{origin}: {key}: found {show(value)}, expected {name}")
