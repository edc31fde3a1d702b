"""The keys of a file whose rows may differ in theirs, with an example. Knows no files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pbranch.errors import DataError
from pdata.roles.field_map import FieldMap, find_value
from pdata.roles.guess import Row, describe_missing, guess_fields
from pdata.roles.values import read_conversation, read_gold


@dataclass(frozen=True, slots=True)
class Schemas:
    """The keys of a file whose rows may differ in theirs; the first that fit a row are its own."""

    maps: tuple[FieldMap, ...] = ()
    overrides: Mapping[str, str] = field(default_factory=dict)
    examples: tuple[tuple[tuple[str, str], ...], ...] = ()
    missing: str = ""  # why there is no map

    def choose(self, row: Row) -> FieldMap:
        """The keys of `row`, guessed from it alone where no others fit."""
        for fields in self.maps:
            if fields.fits(row):
                return fields
        alone = guess_fields(row, self.overrides)
        return alone if alone.fits(row) or not self.maps else self.maps[0]


def guess_schemas(rows: Sequence[Row], overrides: Mapping[str, str]) -> Schemas:
    """The keys of `rows`; more than one map where no keys fit them all."""
    every = rows
    seen = {role: key for role, key in overrides.items()
            if any(find_value(row, key) is not None or key in row for row in rows)}  # fmt: skip
    maps: list[FieldMap] = []
    examples = []
    while rows:
        first = rows[0]
        like = [r for r in rows if r.keys() >= first.keys() or r.keys() <= first.keys()]
        fields = guess_fields(first, seen, like[1:])
        fitting = [row for row in rows if fields.complete and fields.fits(row)]
        if fitting and fields not in maps:
            maps.append(fields)
            examples.append(show_example(fitting[0], fields))
        gone = {id(row) for row in (first, *fitting)}
        rows = [row for row in rows if id(row) not in gone]
    missing = describe_missing(every, seen) if every and not maps else ""
    return Schemas(tuple(maps), seen, tuple(examples), missing)


def show_example(row: Row, fields: FieldMap) -> tuple[tuple[str, str], ...]:
    """(role, beginning) of what the roles of `row` hold."""
    try:
        messages, text = read_conversation(row, fields)
    except DataError as e:
        return (("rejected", str(e)[:80]),)
    shown = {"prompt": messages[-1]["content"], "trace": text, "answer": read_gold(row, fields)[0]}
    return tuple((role, _shorten(value)) for role, value in shown.items() if value)


def _shorten(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else text[:79] + "…"
