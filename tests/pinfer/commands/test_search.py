"""The verb `pinfer search` on a tiny random model: what it prints, writes and refuses."""

import json

import pytest

from pinfer import cli
from tests.support.run_command import call_main

PAGE = """\
prompt: 'Check {problem}.'
thought: 'Case {step}:'
thought_tokens: 6
value: 'Rating:'
value_tokens: 3
judge: 'Right?'
vote: "Best of\\n{candidates}\\n:"
propose: 'List {count}:'
"""


@pytest.fixture
def search(monkeypatch, capsys, base, tmp_path):
    """Runs `pinfer search` with a page; returns (exit code, stdout, stderr)."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "check.yaml").write_text(PAGE)

    def run(*args, task=None):
        where = [task or str(tmp_path / "check.yaml"), "each record <b>", "--model", str(base)]
        given = [*where, "--adapter", "none", "--device", "cpu", "--seed", "3", *map(str, args)]
        return call_main(monkeypatch, capsys, cli.main, "pinfer", "search", *given)

    return run


SMALL = ["--width", 3, "--depth", 2, "--keep", 2]


def test_schedules_and_drafts_print_the_same_tree(search, tmp_path):
    runs = {}
    for options in (
        ["--schedule", "serial"],
        ["--schedule", "round", "--early", "2"],
        ["--draft", "ngram", "--row-budget", "2"],
        ["--no-overlap"],
    ):
        code, out, err = search("--json", *SMALL, *options)
        assert code == 0, err
        runs[tuple(options)] = json.loads(out)
    first = next(iter(runs.values()))
    for found in runs.values():
        assert found["tree"] == first["tree"] and found["texts"] == first["texts"]
        assert found["timeline"]["passes"] == found["stats"]["passes"]
        rows = sum(phase["rows"] for phase in found["timeline"]["phases"].values())
        assert rows == found["stats"]["rows"]
        assert found["stats"]["unreadable"], "a random model gives no numbers"
    assert len(first["tree"]["children"]) == 3 and first["seed"] == 3
    serial = runs["--schedule", "serial"]["stats"]
    assert serial["passes"] > runs["--no-overlap",]["stats"]["passes"]


def test_the_tree_is_told_and_written_as_a_page(search, tmp_path):
    page = tmp_path / "tree.html"
    code, out, err = search(*SMALL, "--page", page)
    assert code == 0 and out.count("\n") == 1
    assert "● 1" in err or "● 2" in err or "● 3" in err
    assert "[found]" in err and "ratings (" in err
    text = page.read_text()
    assert "each record &lt;b&gt;" in text and "<rect" in text and "<b>" not in text.split("h1>")[1]


def test_other_generators_and_evaluators(search):
    for options in (
        ["--evaluate", "vote"],
        ["--evaluate", "logprob", "--strategy", "best"],
        ["--generate", "propose", "--strategy", "dfs"],
    ):
        code, out, err = search("--json", *SMALL, *options)
        assert code == 0, err
        assert json.loads(out)["tree"]["children"] or "propose" in options


@pytest.mark.parametrize(
    "args, task, message",
    [
        (["--strategy", "bsf"], None, "strategy 'bsf': expected bfs, dfs, best"),
        (["--schedule", "fifo"], None, "schedule 'fifo': expected serial, round, fcfs_batch"),
        ([], "game25", "task 'game25': expected game24"),
        (["--draft", "model"], None, "draft 'model': expected none, ngram"),
        (["--page", "no/such/x.html"], None, "--page no/such/x.html: no such folder"),
        (["--width", 400, "--keep", 400, "--max-memory", "0.001"], None, "width 400, keep 400, d"),
        (["--depth", 900], None, "a path may reach position"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(search, args, task, message):
    code, out, err = search(*args, task=task)
    assert code == 1 and not out
    assert message in err and len(err.strip().splitlines()) == 1, err


def test_a_draft_model_with_another_tokenizer(search, metaspace_tokenizer, tmp_path):
    from tests.support.checkpoints import save_base

    other = save_base(tmp_path / "other", metaspace_tokenizer, "llama")
    code, _, err = search(*SMALL, "--draft", f"model:{other}")
    assert code == 1 and "its tokenizer is not the model's" in err
