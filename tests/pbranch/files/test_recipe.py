"""Recipes: strict keys and types, defaults < page < overrides, and a page that is also Python."""

import ast
import runpy
from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pbranch.errors import RecipeError
from pbranch.files.recipe import dump_recipe, load_recipe


@dataclass(frozen=True, slots=True)
class Lora:
    rank: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    dropout: float | None = None


@dataclass(frozen=True, slots=True)
class Train:
    model: str = "tiny"
    learning_rate: float = 1e-4
    steps: int = 100
    packing: bool = True
    grammar: Literal["on", "off"] = "on"
    positions: Literal["max", "flat"] = "max"
    lora: Lora = field(default_factory=Lora)
    weights: dict[str, float] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=lambda: [0])

    def __post_init__(self):
        if self.steps < 0:
            raise RecipeError(f"steps: found {self.steps}, expected 0 or more")


@dataclass(frozen=True, slots=True)
class Needs:
    data: str
    lora: Lora = field(default_factory=Lora)


@pytest.fixture
def page(tmp_path):
    def write(text):
        path = tmp_path / "run.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_defaults_then_page_then_overrides(page):
    path = page("model: base\nlora:\n  rank: 8\n")
    assert load_recipe(Train, None) == Train()
    assert load_recipe(Train, path) == Train(model="base", lora=Lora(rank=8))
    found = load_recipe(Train, path, ["lora.alpha=4", "steps=7", "lora.rank=2", "lora.rank=3"])
    assert found == Train(model="base", steps=7, lora=Lora(rank=3, alpha=4.0))
    assert load_recipe(Train, str(path)) == load_recipe(Train, path)
    assert load_recipe(Train, page("\ufeffmodel: base\n")) == Train(model="base")


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n"])
def test_an_empty_page_is_the_defaults(page, text):
    assert load_recipe(Train, page(text)) == Train()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lerning_rate: 1", "unknown key lerning_rate; did you mean learning_rate"),
        ("lora:\n  rnak: 1", "unknown key lora.rnak; did you mean lora.rank"),
        ("zzzz: 1", "unknown key zzzz; keys: model, learning_rate"),
        ("1: 1", "unknown key 1; keys: model"),
        ("steps: many", "steps: found 'many', expected int"),
        ("steps: 2.5", "steps: found 2.5, expected int"),
        ("steps: true", "steps: found True, expected int"),
        ("steps: .inf", "steps: found inf, expected int"),
        ("steps: null", "steps: found None, expected int"),
        ("steps: [1]", "steps: found .1., expected int"),
        ("learning_rate: fast", "learning_rate: found 'fast', expected float"),
        ("learning_rate: .nan", "learning_rate: found nan, expected float"),
        (f"learning_rate: 1{'0' * 400}", "learning_rate: found 1000"),
        ("learning_rate: .inf", "learning_rate: found inf, expected float"),
        ("steps: 9223372036854775808", "steps: found 9223372036854775808, expected int"),
        ("model: &m a\ngrammar: *m", "run.yaml:2: not YAML: alias"),
        ("packing: 1", "packing: found 1, expected bool"),
        ("packing: 'yes'", "packing: found 'yes', expected bool"),
        ("model: [a]", "model: found .'a'., expected str"),
        ("model: null", "model: found None, expected str"),
        ("grammar: offf", "grammar: found 'offf', expected one of on, off; did you mean off"),
        ("positions: true", "positions: found True, expected one of max, flat"),
        ("lora: 3", "lora: expected a section of keys, found 3"),
        ("lora:\n  targets: q_proj", "lora.targets: found 'q_proj', expected"),
        ("lora:\n  targets: [a, [b]]", r"lora.targets\[1\]: found .'b'., expected str"),
        ("lora:\n  dropout: big", "lora.dropout: found 'big', expected float . None"),
        ("weights: {body: x}", "weights.body: found 'x', expected float"),
        ("seeds: [1, x]", r"seeds\[1\]: found 'x', expected int"),
        ("steps: -1", "steps: found -1, expected 0 or more"),
        ("[1, 2]", "expected a mapping of keys, found list"),
        ("[]", "expected a mapping of keys, found list"),
        ("just words", "expected a mapping of keys, found str"),
        ("model: a\nlora: {rank: 1\nsteps: 2\n", "run.yaml:3: not YAML"),
        ("model: a\n\tsteps: 1\n", "run.yaml:2: not YAML"),
        ("model: '\x07'", "not YAML"),
    ],
)
def test_bad_pages(page, text, message):
    path = page(text)
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(Train, path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("steps", "override 'steps': expected key=value"),
        ("stepz=1", "command line: unknown key stepz; did you mean steps"),
        ("lora.rnk=1", "command line: unknown key lora.rnk; did you mean lora.rank"),
        ("lora=1", "lora: expected a section"),
        ("steps.deep=1", "steps: found .*expected int"),
        ("steps=x", "command line: steps: found 'x', expected int"),
        ("=1", "unknown key"),
        ("seeds=[1", "is not YAML"),
    ],
)
def test_bad_overrides(override, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe(Train, None, [override])


def test_a_missing_or_unreadable_page(tmp_path):
    with pytest.raises(RecipeError, match=r"none\.yaml: cannot read recipe"):
        load_recipe(Train, tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match="cannot read recipe"):
        load_recipe(Train, tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"model: \xff\xfe")
    with pytest.raises(RecipeError, match=r"binary\.yaml: cannot read recipe"):
        load_recipe(Train, tmp_path / "binary.yaml")


def test_a_required_key(page):
    with pytest.raises(RecipeError, match="missing key data"):
        load_recipe(Needs, page("lora: {rank: 2}\n"))
    assert load_recipe(Needs, page("data: a.jsonl\n"), ["lora.rank=2"]).lora.rank == 2


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "0.0001", "'1e-4'"])
def test_small_floats_however_they_are_written(page, text):
    """YAML 1.1 reads 1e-4 as a string."""
    assert load_recipe(Train, page(f"learning_rate: {text}")).learning_rate == 1e-4
    assert load_recipe(Train, None, [f"learning_rate={text.strip(chr(39))}"]).learning_rate == 1e-4


def test_values_by_hand(page):
    text = "learning_rate: 1\nsteps: 5.0\nmodel: 7\ngrammar: off\nweights: {body: 2}\nseeds: [3]\n"
    found = load_recipe(Train, page(text + "lora: {targets: [k], dropout: null}\n"))
    assert found.learning_rate == 1.0 and isinstance(found.learning_rate, float)
    assert found.steps == 5 and isinstance(found.steps, int)
    assert (found.model, found.grammar, found.seeds) == ("7", "off", [3])
    assert found.weights == {"body": 2.0}
    assert found.lora == Lora(targets=("k",))
    assert load_recipe(Train, None, ["grammar=off"]).grammar == "off"
    assert load_recipe(Train, None, ["model=a=b"]).model == "a=b"
    assert load_recipe(Train, None, ["lora.targets=[x, y]"]).lora.targets == ("x", "y")
    assert load_recipe(Train, None, ["lora.dropout=0.5"]).lora.dropout == 0.5


RECIPES = st.builds(
    Train,
    model=st.text(st.characters(exclude_categories=["Cs"])),
    learning_rate=st.floats(allow_nan=False, allow_infinity=False),
    steps=st.integers(0, 10**12),
    packing=st.booleans(),
    grammar=st.sampled_from(["on", "off"]),
    positions=st.sampled_from(["max", "flat"]),
    lora=st.builds(
        Lora,
        rank=st.integers(1 - 2**63, 2**63 - 1),
        alpha=st.floats(1e-9, 1e9),
        targets=st.lists(st.sampled_from(["q", "on", "1", "null", "~"])).map(tuple),
        dropout=st.one_of(st.none(), st.floats(0, 1)),
    ),
    weights=st.dictionaries(st.sampled_from(["body", "join"]), st.floats(0, 1)),
    seeds=st.lists(st.integers(1 - 2**63, 2**63 - 1)),
)


@given(recipe=RECIPES)
@example(recipe=Train(model="\x85"))
@example(recipe=Train(model="a\u2028b\x85\u2029"))
def test_a_dumped_recipe_loads_as_itself(tmp_path_factory, recipe):
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(dump_recipe(recipe), encoding="utf-8")
    assert load_recipe(Train, path) == recipe


POLYGLOT = '''ptrain: r"""  # lets accelerate run this page; keep it first
model: base
learning_rate: 1e-4
lora:
  rank: 4
  targets: [a\\b]
#"""; ran = True
'''


def test_a_page_that_accelerate_can_launch(page):
    path = page(POLYGLOT)
    expected = Train(model="base", lora=Lora(rank=4, targets=("a\\b",)))
    assert load_recipe(Train, path) == expected
    ast.parse(POLYGLOT)  # the same page is Python: an annotation, then what runs the training
    assert runpy.run_path(str(path))["ran"] is True


def test_a_launchable_page_may_not_hold_triple_quotes(page):
    with pytest.raises(RecipeError, match='may not contain """'):
        load_recipe(Train, page(POLYGLOT.replace("model: base", 'model: a  # """')))


def test_an_override_of_one_entry_leaves_the_others(page):
    path = page("weights: {a: 1, b: 2}\n")
    assert load_recipe(Train, path, ["weights.b=3", "weights.c=4"]).weights == {
        "a": 1,
        "b": 3,
        "c": 4,
    }
    assert load_recipe(Train, path, ["weights={c: 4}"]).weights == {"c": 4}
    assert load_recipe(Train, path, ["weights={}"]).weights == {}
