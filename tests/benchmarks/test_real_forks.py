"""benchmarks/real_forks.py: what it draws, and what it says of verdicts when the rules change."""

import importlib.util
import json
import sys

import pytest

from tests.support.repository import ROOT

RECORDS = [
    {"prompt": "Say something of each tree.", "completion": text}
    for text in (
        "As asked:\n"
        "1. **Oak**: it is a tall tree, and it bears acorns in the autumn of most years.\n"
        "2. **Elm**: it has rough leaves, and many of its kind have died of a fungus.\n"
        "3. **Ash**: it is a light wood, which makers of tools have liked for long.\n\n"
        "That is all.",
        "1. Take an egg.\n2. Then break it.\n3. Then beat it.",
        "A tree is a tree.",
    )
]


@pytest.fixture
def real_forks(monkeypatch):
    path = ROOT / "benchmarks" / "real_forks.py"
    spec = importlib.util.spec_from_file_location("real_forks", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "real_forks", module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_labels_are_found_again_whatever_the_rules_do(real_forks, tmp_path):
    (tmp_path / "trees.jsonl").write_text("".join(json.dumps(r) + "\n" for r in RECORDS))
    block, linear = real_forks.draw(str(tmp_path), 0, 9, 9)
    assert (block["file"], block["line"], len(block["branches"])) == ("trees.jsonl", 1, 3)
    squeezed = "".join(block["text"].split())
    assert squeezed[block["start"] :].startswith("1.**Oak**:it")
    assert squeezed[: block["end"]].endswith("forlong.")
    assert linear["line"] == 2 and "start" not in linear

    assert squeezed[block["cuts"][1] :].startswith("3.**Ash**")
    where = {key: block[key] for key in ("file", "line", "start", "cuts", "end")}
    labels = [
        where | {"verdict": "right"},
        where | {"cuts": block["cuts"][:1], "verdict": "wrong"},
        where | {"line": 2, "verdict": "wrong"},
        {"file": "trees.jsonl", "line": 2, "verdict": "linear"},
        {"file": "trees.jsonl", "line": 1, "verdict": "miss"},
    ]
    table = real_forks.score(str(tmp_path), labels).splitlines()
    cells = table[-1].split(" | ")
    assert cells[0] == "| all"
    #          right      wrong: cut anew, gone   miss   linear
    assert [x.strip("| ") for x in cells[1:]] == ["1", "0", "0", "0", "1", "1", "1", "0", "0", "1"]
