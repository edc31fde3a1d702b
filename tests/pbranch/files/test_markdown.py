"""Foreign text in Markdown is text: seen as it is, and no markup."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pbranch.files.markdown import as_block, as_code, as_text, is_repository, one_line

PAYLOADS = [
    "<script>alert(1)</script>",
    "![x](http://example.org/p.png)",
    "[x](javascript:alert(1))",
    "x\n\n# Heading\n\n---\n",
    "`` ` ``` x",
    "a | b",
    "**bold** _it_",
    "http://example.org",
    "see www.example.org",
    "<http://example.org>",
    "&lt;b&gt;",
    "@someone",
    "\x1b]0;TITLE\x07",
    "\\`x\\`",
    "`",
    " ",
    "",
]
WHAT = st.one_of(
    st.sampled_from(PAYLOADS), st.text(max_size=60), st.text("`<>[]()!#*_|\\ \nab.:", max_size=40)
)


def inline(text: str) -> list[str]:
    """Types of what a line holds, besides text."""
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    kinds = [
        t.type for t in tokens if t.type not in ("paragraph_open", "paragraph_close", "inline")
    ]
    for token in tokens:
        kinds += [child.type for child in token.children or () if child.type != "text"]
    return kinds


@given(WHAT)
def test_text_within_a_line_is_no_markup(text):
    said = as_text(text)
    assert set(inline(f"The task is {said}.")) <= {"code_inline"}
    assert "\n" not in said and "\x1b" not in said


@given(WHAT, st.sampled_from([as_text, as_code]))
def test_what_is_shown_is_what_was_given(text, write):
    tokens = MarkdownIt().parse(f"The task {write(text)}.")
    shown = "".join(c.content for t in tokens for c in t.children or ())
    assert shown.removeprefix("The task ").removesuffix(".").strip() == one_line(text).strip()


@pytest.mark.parametrize("write", [as_text, as_code])
def test_no_raw_markup_is_left_for_other_readers(write):
    said = " ".join(map(write, PAYLOADS))
    links = ("http://", "www.") if write is as_text else ()  # in code they lead nowhere
    assert not [x for x in ("<script>", "](javascript:", "![x](", *links) if x in said]


@given(WHAT)
def test_a_block_ends_where_it_ends(text):
    tokens = MarkdownIt().parse(f"{as_block(text, 'yaml')}\n\nEnd.")
    assert [t.type for t in tokens if t.level == 0][:2] == ["fence", "paragraph_open"]


def test_plain_words_stay_as_they_are():
    for text in ("records", "20 broken line", "2.13.0+cpu", "Qwen/Qwen3-0.6B", "任务", "a: b, c"):
        assert as_text(text) == text


def test_long_text_is_cut_in_no_time():
    began = time.monotonic()
    assert len(as_text("a. " * 100_000 + "!")) < 400
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("me/x", True), ("gpt2", True), ("me/x.y-z_1", True), ("me/x: y\n- z", False),
        ("../x", False), ("a/b/c", False), ("", False), ("me/x\n", False), ("mé/x", False),
    ],
)  # fmt: skip
def test_names_of_the_hub(name, is_one):
    assert is_repository(name) == is_one


def test_the_payloads_would_be_markup():
    """The test is worth something: as they are, they are more than text."""
    assert {"html_inline", "image", "link_open"} <= {k for p in PAYLOADS for k in inline(f"x {p}")}
