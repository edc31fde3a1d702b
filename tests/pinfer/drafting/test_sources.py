"""Names of sources: how they are read, and which are refused before a model is loaded."""

import pytest

from pbranch.errors import AdapterError, RequestError
from pbranch.hf.lookahead.files import LookaheadConfig
from pinfer.drafting.ngram import NgramSource
from pinfer.drafting.sources import SourceName, check_source, read_name


@pytest.mark.parametrize(
    ("draft", "name"),
    [
        ("none", SourceName("none")),
        ("ngram", SourceName("ngram")),
        ("auto", SourceName("ngram", auto=True)),
        ("model:a:b", SourceName("model", "a:b")),
        ("auto:model:fused:b", SourceName("model", "fused:b", auto=True)),
        ("lookahead:runs/x", SourceName("lookahead", "runs/x")),
        ("lookahead:fused:runs/x", SourceName("lookahead", "runs/x", "fused")),
        ("lookahead", SourceName("lookahead")),
        ("auto:lookahead:fused", SourceName("lookahead", "", "fused", auto=True)),
        ("lookahead:./fused", SourceName("lookahead", "./fused")),
        ("auto:lookahead:two_pass:x", SourceName("lookahead", "x", "two_pass", auto=True)),
    ],
    ids=str,
)
def test_a_name_is_read(draft, name):
    assert read_name(draft) == name


@pytest.mark.parametrize(
    "draft",
    "gram model model: auto: auto:ngram auto:model: look:x looka".split(),
)
def test_a_name_that_is_none_is_refused(draft):
    with pytest.raises(RequestError, match=r"expected none, ngram, model:NAME, lookahead\[") as e:
        check_source(draft)
    assert repr(draft) in str(e.value) and "\n" not in str(e.value)


def test_a_folder_is_looked_into(tmp_path):
    with pytest.raises(AdapterError, match=r"no lookahead_config\.json; expected a folder"):
        check_source(f"auto:lookahead:fused:{tmp_path}")
    LookaheadConfig("base", "2-9-0123456789abcdef", None, 2, 0, 0, 48).save(tmp_path)
    check_source(f"lookahead:{tmp_path}")
    check_source(NgramSource())
    check_source(None)
