"""Dialects: trees written in a dialect come back equal; what breaks the grammar says where."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdata.build.convert import convert
from pdata.sources.dialects import ASPD, DIALECTS, MULTIVERSE, THREADWEAVER, read_dialect
from pdata.validate import find_problems

from pbranch.errors import DataError, FormatError
from pbranch.format.tagged_text import parse
from pbranch.format.tree import Fork, Segment, Trace, make_trace, plain_text

WORDS = [
    "so",
    "in range",
    "4.09",
    "12:30",
    "é",
    "你好",
    "。",
    "<think>",
    "</think>",
    "a < b",
    "No#1",
]
FORMS = {
    "multiverse": ("<Parallel><Goal>{0}</Goal>{1}</Parallel>",
                   "<Outline>{}</Outline>", "<Path>{}</Path>"),
    "threadweaver": ("<Parallel><Outlines>{0}</Outlines>{1}</Parallel>",
                     "<Outline>{}</Outline>", "<Thread>{}</Thread>"),
    "aspd": ("{0}<|para|>{1}<|/para|>", "<|title|>{}<|/title|>", "<|branch|>{}<|/branch|>"),
}  # fmt: skip


def write_tagged(trace: Trace, dialect: str, gap: str = "\n") -> str:
    """The text of `trace` in a dialect with tags; `gap` stands between and inside of the tags."""
    block, entry, branch = FORMS[dialect]
    out = []
    for part in trace.parts:
        if isinstance(part, Segment):
            out.append(part.text)
            continue
        inner = [write_tagged(b, dialect, gap) for b in part.branches]
        entries = gap.join(entry.format(gap + t + gap) for t in part.topics)
        branches = gap.join(branch.format(gap + b + gap) for b in inner)
        out.append(block.format(entries + gap, gap + branches + gap))
    return "".join(out)


def write_paper(trace: Trace) -> str:
    out = []
    for part in trace.parts:
        if isinstance(part, Segment):
            out.append(part.text)
            continue
        out.append(part.separator.join("####" + plain_text(b) for b in part.branches) + "####%%%%")
    return "".join(out)


def words(min_size: int = 1) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(WORDS), min_size=min_size, max_size=4).map(" ".join)


@st.composite
def written(
    draw: st.DrawFn,
    depth: int,
    numbered: bool = True,
    separators: bool = False,
    number: str = "",
    start: str = "",
) -> Trace:
    """A trace that starts with the text `start`, its blocks set off by line breaks."""
    parts: list[str | Fork] = [f"{start}: {draw(words())}" if start else draw(words())]
    for _ in range(draw(st.integers(0, 2)) if depth else 0):
        topics, branches = [], []
        for i in range(1, draw(st.integers(1, 3)) + 1):
            title = draw(words()).replace(":", "") if not numbered else draw(words())
            own = f"{number}{i}"
            topics.append(f"{own}: {title}" if numbered else title)
            branches.append(
                draw(written(depth - 1, numbered, separators, own + ".", start=topics[-1]))
            )
        separator = draw(st.sampled_from(["\n", "\n\n", " "])) if separators else "\n"
        block = Fork(tuple(topics), tuple(branches), separator if len(topics) > 1 else "\n")
        parts += ["\n", block, "\n" + draw(words())]
    return make_trace(*parts)


@given(written(3), st.sampled_from(["", "\n", " \n\n"]))
def test_multiverse_comes_back(trace: Trace, gap: str) -> None:
    assert read_dialect(write_tagged(trace, "multiverse", gap), "multiverse") == trace


@given(written(1), st.sampled_from(["", "\n"]))
def test_threadweaver_comes_back(trace: Trace, gap: str) -> None:
    assert read_dialect(write_tagged(trace, "threadweaver", gap), "threadweaver") == trace


@given(written(1, numbered=False), st.sampled_from(["", "\n"]))
def test_aspd_comes_back(trace: Trace, gap: str) -> None:
    assert read_dialect(write_tagged(trace, "aspd", gap), "aspd") == trace


@given(written(1, numbered=False, separators=True))
def test_paper_comes_back(trace: Trace) -> None:
    assert read_dialect(write_paper(trace), "paper") == trace


@given(st.sampled_from(list(FORMS)), st.data())
def test_torn_text_is_refused_or_whole(dialect: str, data: st.DataObject) -> None:
    """Text without one of its tags, or with one twice, is never read as if nothing had happened."""
    trace = data.draw(written(1, dialect != "aspd"))
    text = write_tagged(trace, dialect)
    block, entry, branch = FORMS[dialect]
    tags = [t for form in (block, entry, branch) for t in form.replace("{0}", "{}")
            .replace("{1}", "{}").replace("><", ">{}<").split("{}") if t]  # fmt: skip
    tag = data.draw(st.sampled_from(tags))
    if tag not in text:
        return
    for torn in (text.replace(tag, "", 1), text.replace(tag, tag + tag, 1)):
        with pytest.raises(FormatError) as caught:
            read_dialect(torn, dialect)
        assert caught.value.offset is not None


def test_paper_as_models_write_it() -> None:
    text = "Steps:\n\n####Nia Orr: 3.1\n\n#### Bo Lund： 2.5, 4 of 5\n####%%%%\nSo Bo."
    trace = read_dialect(text, "paper")
    assert trace == make_trace(
        "Steps:\n\n",
        Fork(
            ("Nia Orr", "Bo Lund"),
            (make_trace("Nia Orr: 3.1"), make_trace("Bo Lund： 2.5, 4 of 5")),
            "\n\n",
        ),
        "\nSo Bo.",
    )
    assert plain_text(trace) == text.replace("#### ", "").replace("####%%%%\n", "").replace(
        "####", ""
    )


def test_uneven_gaps_of_paper_become_even() -> None:
    trace = read_dialect("####a: 1\n####b: 2\n\n####c: 3\n\n####d: 4 ####%%%%end", "paper")
    assert plain_text(trace) == "a: 1\n\nb: 2\n\nc: 3\n\nd: 4 end"


PUBLISHED = """<think>Let me see.
<Parallel>
<Goal>
Two cases.
<Outline>1: n is even</Outline> <Outline>2: n is odd</Outline>
</Goal>
<Path>1: n = 2k.
<Parallel><Goal><Outline>1.1: k is even</Outline><Outline>1.2: k is odd</Outline></Goal>
<Path>1.1: a</Path><Path>1.2: b</Path><Conclusion>Both fine.</Conclusion></Parallel></Path>
<Path>2: n is odd, so n = 2k + 1.</Path>
<Conclusion>
So it holds.
</Conclusion>
</Parallel></think>
Yes."""


def test_multiverse_as_published() -> None:
    """Goals go before the fork, conclusions after; a path gets its outline as its first line."""
    inner = Fork(
        ("1.1: k is even", "1.2: k is odd"),
        (make_trace("1.1: k is even\na"), make_trace("1.2: k is odd\nb")),
    )
    outer = Fork(
        ("1: n is even", "2: n is odd"),
        (
            make_trace("1: n is even\nn = 2k.\n", inner, "\nBoth fine."),
            make_trace("2: n is odd, so n = 2k + 1."),
        ),
    )
    expected = make_trace(
        "<think>Let me see.\n", "Two cases.\n", outer, "\nSo it holds.\n", "</think>\nYes."
    )
    assert read_dialect(PUBLISHED, "multiverse") == expected


HEAD = "<Parallel><Goal><Outline>1: a</Outline><Outline>2: b</Outline></Goal>"
PATHS = "<Path>1: x</Path><Path>2: y</Path>"
OUTLINES = HEAD.replace("Goal", "Outlines")
TITLES = "<|title|>a<|/title|><|title|>b<|/title|><|para|>"


@pytest.mark.parametrize(
    ("dialect", "text", "message"),
    [
        ("multiverse", f"{HEAD}<Path>1: x</Path></Parallel>",
         r"found </Parallel>, expected <Path> .*character 86"),
        ("multiverse", f"{HEAD}{PATHS}<Path>3: z</Path></Parallel>",
         "found <Path> again, expected as many as there are topics, 2"),
        ("multiverse", f"{HEAD}{PATHS}", "found the end of the text, expected </Parallel>"),
        ("multiverse", f"{HEAD}<Path>2: y</Path><Path>1: x</Path></Parallel>",
         "starts with '2: y', expected '1:' .*character 69"),
        ("multiverse", f"{HEAD}<Path>1: x <Conclusion>no</Conclusion></Path>",
         "found <Conclusion>, expected </Path>"),
        ("multiverse", f"{HEAD}{PATHS}and so</Parallel>", "found 'and so', expected </Parallel>"),
        ("multiverse", f"{PATHS}", "found <Path> outside its block .*character 0"),
        ("multiverse", "<Parallel>a</Parallel>", "found </Parallel>, expected <Goal>"),
        ("multiverse", "<Parallel><Goal>a</Goal></Parallel>", "found </Goal>, expected <Outline>"),
        ("multiverse", "<Parallel><Goal><Outline>a</Outline></Goal></Parallel>",
         "topic 1 says 'a', expected a number"),
        ("multiverse", "<Parallel><Goal><Outline>1: a</Outline></Goal><Path>1: " * 33,
         "inside 32 others"),
        ("threadweaver", f"{OUTLINES}<Thread>1: {OUTLINES}", "inside a branch, expected one level"),
        ("threadweaver", f"{OUTLINES}text<Thread>1: x</Thread>", "found 'text', expected <Thread>"),
        ("aspd", f"{TITLES}<|branch|>a: x<|/branch|><|/para|>",
         r"found <\|/para\|>, expected <\|branch\|>"),
        ("aspd", f"{TITLES}<|branch|>c: x<|/branch|><|/para|>", "starts with 'c: x', expected 'a'"),
        ("aspd", "<|title|> <|/title|><|para|>", "topic 1 says ' ', expected a title"),
        ("aspd", f"<|para|>{TITLES}", r"found <\|para\|> outside its block"),
        ("paper", "####a: x\n####b: y\n", r"expected ####%%%% \(block opened at 0.*character 18"),
        ("paper", "so %%%%", "closes no block .*character 3"),
        ("paper", "####a: x\n####the rest\n####%%%%", "found '####the rest.*character 9"),
        ("paper", "####a: x\n##### b: y\n####%%%%", "expected '####title:'"),
        ("paper", "####a:......\n\n####b: y\n\n####%%%%", "branch 1 of the block is left out"),
    ],
)  # fmt: skip
def test_what_breaks_the_grammar_says_where(dialect: str, text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_dialect(text, dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_text_without_blocks_is_linear(dialect: str) -> None:
    text = "<think>a < b</think>\n# Title\n\n- x: 1\n"
    assert read_dialect(text, dialect) == make_trace(text)


def test_convert_loses_nothing(tmp_path: Path) -> None:
    good = f"{HEAD}{PATHS}</Parallel>\nanswer: 4"
    one = "<Parallel><Goal><Outline>1: a</Outline></Goal><Path>1: x</Path></Parallel>"
    texts = [good, f"{HEAD}", one, "no block. answer: 5"]
    rows = [{"prompt": "p", "response": t, "answer": "4"} for t in texts]
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n".join(map(json.dumps, rows)) + "\nbroken\n")
    counts = convert(str(source), out, "multiverse")
    assert counts == {
        "in": 5, "out": 2, "rejected": 3, "branches": 1, "linear": 1,
        "rejected_by_reason": {"not multiverse": 1, "unfit block": 1, "broken line": 1},
    }  # fmt: skip
    assert list(find_problems(out)) == []
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [r["answer_ok"] for r in records] == [True, False]
    assert records[0]["meta"] == {
        "origin": "in.jsonl:1", "form": "branches", "dialect": "multiverse"
    }  # fmt: skip
    assert parse(records[0]["completion"]) == read_dialect(good, "multiverse")
    rejected = [json.loads(s) for s in (tmp_path / "out.rejected.jsonl").read_text().splitlines()]
    assert [r["origin"] for r in rejected] == ["in.jsonl:2", "in.jsonl:3", "in.jsonl:5"]
    assert "character" in rejected[0]["detail"] and "one branch" in rejected[1]["detail"]
    again = convert(str(out), tmp_path / "again.jsonl", "multiverse")
    assert again["rejected_by_reason"] == {"tagged already": 1}


def test_convert_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected paper, multiverse, threadweaver, aspd"):
        convert("-", tmp_path / "out.jsonl", "latin")
    with pytest.raises(DataError, match=r"expected a \.jsonl file"):
        convert("-", tmp_path / "out.txt", "paper")
    (tmp_path / "a.jsonl").write_text("{}")
    with pytest.raises(DataError, match="is the source itself"):
        convert(str(tmp_path), tmp_path / "a.jsonl", "paper")


GRAMMARS = {"multiverse": MULTIVERSE, "threadweaver": THREADWEAVER, "aspd": ASPD}
SOUP = {
    "paper": ["####", "####%%%%", "%%%%", "#", ":", "：", "......", "\n"],
    **{name: grammar.tags for name, grammar in GRAMMARS.items()},
}


@given(st.sampled_from(list(SOUP)), st.data())
def test_any_soup_of_tags_is_read_whole_or_refused(dialect: str, data: st.DataObject) -> None:
    """Nothing but FormatError comes out, and what is read keeps every word that stood there."""
    pieces = st.sampled_from([*SOUP[dialect], "1: a", "2: b", "word", " "])
    text = data.draw(st.lists(pieces, max_size=12).map("".join))
    try:
        trace = read_dialect(text, dialect)
    except FormatError:
        return
    for tag in sorted(SOUP[dialect], key=len, reverse=True):
        text = text.replace(tag, " ")
    topics = "".join(t for fork in trace.all_forks() for t in fork.topics)
    found = plain_text(trace).count("word") + topics.count("word")
    assert found >= text.count("word")
