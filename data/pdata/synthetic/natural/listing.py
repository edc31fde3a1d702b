"""How the items of a prompt stand: sentences, lists, tables, and the parts of a whole prompt."""

import random
from collections.abc import Sequence

from pdata.synthetic.natural.phrasing import article, capital, choose
from pdata.synthetic.natural.worlds import Quantity

# an entry: form of the whole, of a field, and what joins the fields
ENTRIES = (
    ("{t}: {f}", "{q} {v}{u}", ", "), ("{t}: {f}", "{q} {v}{u}", "; "),
    ("{t} ({f})", "{q} {v}{u}", ", "), ("{t} ({f})", "{q}: {v}{u}", "; "),
    ("{t} - {f}", "{q} {v}{u}", ", "), ("{t}, {f}", "{q} {v}{u}", ", "),
    ("{t}: {f}", "{q} = {v}{u}", ", "), ("{t} has {f}.", "{aq} of {v}{u}", " and "),
    ("{t} reports {f}.", "{aq} of {v}{u}", " and "),
    ("For {t} the list says: {f}.", "{q} {v}{u}", ", "), ("{t} | {f}", "{q} {v}{u}", " | "),
    ("{t} / {f}", "{q} {v}{u}", " / "), ("{t} was entered with {f}.", "{q} {v}{u}", " and "),
    ("{t}. {F}.", "{q}: {v}{u}", ", "), ("Entry for {t}: {f}", "{q} {v}{u}", ", "),
    ("{t} [{f}]", "{q}: {v}{u}", ", "),
)  # fmt: skip
# a table: form of a line, what joins the cells, line below the head
TABLES = (
    ("{c}", " | ", ""), ("| {c} |", " | ", "---"), ("{c}", ", ", ""), ("{c}", "; ", ""),
    ("{c}", "\t", ""), ("|{c}|", "|", "-"), ("{c}", " - ", ""), ("* {c}", " | ", ""),
)  # fmt: skip
# how the items of a prompt stand: form of one, what joins them
LAYOUTS = (
    ("{i}", "\n"),
    ("- {i}", "\n"),
    ("* {i}", "\n"),
    ("{n}. {i}", "\n"),
    ("{n}) {i}", "\n"),
    ("({n}) {i}", "\n"),
    ("• {i}", "\n"),
    ("{i}", "\n\n"),
    ("{i}", " "),
)


def lay_out(rng: random.Random, items: Sequence[str], split: str) -> str:
    """Items that are sentences, as lines, as a list or as one running text."""
    form, glue = choose(rng, LAYOUTS, split)
    if glue == " " and not items[0].endswith((".", '"')):
        glue = "; "
    return glue.join(form.format(i=item, n=n) for n, item in enumerate(items, 1))


def assemble(rng: random.Random, intro: str, listing: str, question: str, form: str) -> str:
    """A whole prompt; the question may come before the list."""
    gap = rng.choice(("\n", "\n\n"))
    if rng.random() < 0.25:
        return f"{intro.removesuffix(':').removesuffix('.')}. {question}{gap}{listing}{gap}{form}"
    return f"{intro}{gap}{listing}{gap}{question}{rng.choice((' ', gap))}{form}"


def draw_listing(
    rng: random.Random,
    noun: str,
    names: Sequence[str],
    shown: Sequence[Quantity],
    rows: Sequence[Sequence[int]],
    split: str,
) -> str:
    """A list or table of `rows`, one of numbers for each name; `noun` heads the names."""
    numbers = [[q.show(v) for q, v in zip(shown, row, strict=True)] for row in rows]
    if rng.random() < 0.3:
        line, glue, rule = choose(rng, TABLES, split)
        head = [noun, *(f"{q.name}{q.unit and f' in{q.unit}'}" for q in shown)]
        lines = [line.format(c=glue.join(head))]
        lines += [line.format(c=glue.join([rule] * len(head)))] if rule else []
        lines += [
            line.format(c=glue.join([n, *row])) for n, row in zip(names, numbers, strict=True)
        ]
        return "\n".join(lines)
    whole, field, glue = choose(rng, ENTRIES, split)
    items = []
    for name, row in zip(names, numbers, strict=True):
        parts = [
            field.format(q=q.name, aq=article(q.name),
                         v=v, u=q.unit)
            for q, v in zip(shown, row, strict=True)
        ]  # fmt: skip
        text = glue.join(parts)
        items.append(whole.format(t=name, f=text, F=capital(text)))
    return lay_out(rng, items, split)
