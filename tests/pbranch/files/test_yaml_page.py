"""YAML of strangers: what a page may hold, and that what it may not is refused at once."""

import contextlib
import time
import tracemalloc

import pytest

from pbranch.files.yaml_page import DEEPEST, LONGEST, YamlError, read_yaml


def bomb(levels: int = 9, width: int = 10) -> str:
    """Aliases of aliases: width ** levels values."""
    lines = ["a0: &a0 [" + ", ".join("x" * width) + "]"]
    for i in range(1, levels):
        lines.append(f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * width) + "]")
    return "\n".join(lines)


def test_plain_values():
    page = "a: 1\nb: [x, 1.5, true, null]\nc: {d: 1e-4, e: '0x10'}\nday: 2020-01-02\n"
    assert read_yaml(page) == {
        "a": 1, "b": ["x", 1.5, True, None], "c": {"d": "1e-4", "e": "0x10"}, "day": "2020-01-02",
    }  # fmt: skip
    assert read_yaml("") is None and read_yaml("3") == 3


@pytest.mark.parametrize(
    ("page", "says"),
    [
        (bomb(), "alias *a0"),
        ("data: &d [*d]", "alias *d"),
        ("x: &x {data: y}\n<<: *x", "alias *x"),
        ("data: " + "[" * 60_000, "levels"),
        ("data: " + "{a: " * 3000 + "1" + "}" * 3000, "levels"),
        ("\n".join("  " * i + f"k{i}:" for i in range(200)), "levels"),
        ("seed: " + "9" * 10_000, "cannot be read"),
        ("seed: 0x" + "f" * 10_000, "seed: found a number of 40000 bits"),
        ("a: {b: 0x" + "f" * 2000 + "}", "a.b: found a number of 8000 bits"),
        ("day: 2020-13-45", "cannot be read"),
        ("x: !!int word", "cannot be read"),
        ("x: !!bool word", "cannot be read"),
        ("x: !!timestamp word", "cannot be read"),
        ("x: !!binary aGVsbG8=", "found bytes"),
        ("x: !!set {a, b}", "found set"),
        ("x: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("? [a, b]\n: 1", "unhashable"),
        ("a: 1\na: 2", "key a is here twice"),
        ("a: '\x00'", "special characters"),
        ("a: [1", "expected"),
        ('a: {b: "\\ud800"}', "a.b: half of a surrogate pair"),
        ("#" * (LONGEST + 1), "longer than"),
    ],
)
def test_what_is_refused(page, says):
    tracemalloc.start()
    began = time.monotonic()
    with pytest.raises(YamlError) as error:
        read_yaml(page)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert says in str(error.value) and "\n" not in str(error.value)
    assert len(str(error.value)) < 300
    assert time.monotonic() - began < 20 and peak < 50e6


def test_levels_that_may_be():
    page = "[" * DEEPEST + "]" * DEEPEST
    assert str(read_yaml(page)) == page


@pytest.mark.parametrize("page", ["a: [{}]", "a: 1{}", "a: {{<<: [{}]}}"])
@pytest.mark.parametrize("piece", ["x,", ":1", "{b: 1},"])
def test_the_longest_page_is_read_in_seconds(page, piece):
    text = page.format(piece * ((LONGEST - 20) // len(piece)))
    began = time.process_time()
    with contextlib.suppress(YamlError):
        read_yaml(text)
    assert time.process_time() - began < 10
