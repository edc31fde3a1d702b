"""`pinfer generate --kv`: options, statistics, the picture, refusals."""

import json
import xml.etree.ElementTree as ElementTree

import pytest

from tests.support.checkpoints import short


@pytest.mark.parametrize("path", ["fast", "general"])
def test_a_bounded_cache_says_what_it_kept(pinfer, path):
    how = short("--json", "--path", path, "--max-new-tokens", "80", "--mode", "linear")
    _, full, _ = pinfer("Check each record.", *how)
    plain = json.loads(full)
    prompt = plain["stats"]["prompt_tokens"]
    assert "kv" not in plain["stats"]
    more = ("--kv", "raas", "--kv-page", "4")
    code, out, _ = pinfer("Check each record.", *how, *more, "--kv-budget", "+20")
    assert code == 0
    row = json.loads(out)
    kv = row["stats"]["kv"]
    assert (kv["policy"], kv["page"], kv["budget"]) == ("raas", 4, prompt + 20)
    assert kv["most_kept"] <= prompt + 20 and row["stats"]["kv_rows"] <= prompt + 24
    assert all(n > 5 for n in kv["evictions"]) and kv["kept"][-1][1] == prompt + 20
    assert plain["stats"]["kv_rows"] > prompt + 60
    code, out, _ = pinfer("Check each record.", *how, *more, "--kv-budget", "100%")
    assert json.loads(out)["token_ids"] == plain["token_ids"], "a budget that is never reached"


def test_the_picture_shows_the_pages(pinfer, tmp_path):
    picture = tmp_path / "pages.svg"
    how = ["--kv", "sink", "--kv-budget", "+8", "--kv-page", "4", "--kv-picture", picture]
    code, _, err = pinfer("Check.", *short("--max-new-tokens", "40", "--mode", "linear", *how))
    assert code == 0 and "tokens kept a lane" in err
    shown = ElementTree.parse(picture).getroot()
    assert len(list(shown.iter("{http://www.w3.org/2000/svg}rect"))) > 5


def test_what_cannot_be_is_refused_in_one_line(pinfer, tmp_path):
    for options, said in (
        (["--kv", "lru"], "kv 'lru': expected one of raas, random"),
        (["--kv", "raas", "--kv-budget", "most"], "--kv-budget most: expected tokens"),
        (["--kv", "raas", "--kv-budget", "20"], "tokens and two pages of 16 need"),
        (["--kv", "raas", "--kv-picture", tmp_path / "no" / "x.svg"], "--kv-picture"),
    ):
        code, out, err = pinfer("Check each record.", *short(*options))
        assert (code, out) == (1, "") and said in err and err.count("\n") == 1, err
    code, _, err = pinfer("Check.", *short("--kv-picture", tmp_path / "x.svg"))
    assert code == 2 and "--kv-picture needs --kv" in err
    for option in ("--kv-budget", "20"), ("--kv-page", "4"), ("--kv-ratio", "0.1"):
        code, out, err = pinfer("Check.", *short(*option))
        assert (code, out) == (2, "") and "--kv-ratio need --kv" in err
