"""Every outcome of a trace is told from what `pdata build` has written of it."""

import json
import sys

from pdata.cli import main as pdata

from benchmarks.llm_rewriter import find_outcome, main
from tests.pdata.llm.test_rewriter import BY_MODEL, CASES, brain, status, write_traces
from tests.support.chat_server import serving

OUTCOMES = dict.fromkeys(BY_MODEL, "forked") | {
    "no-groups": "no steps",
    "no-blocks": "no steps",
    "dependent": "dependent by words",
    "voted-down": "voted down",
    "unread-votes": "voted down",
    "unfaithful": "no usable reply: content changed",
    "made-up": "no usable reply: not in the trace",
    "swallowed-answer": "no usable reply: answer in a branch",
    "refused": "no usable reply: request refused",
}


def test_outcomes(tmp_path, monkeypatch, capsys):
    write_traces(tmp_path / "traces.jsonl", len(CASES))
    out = tmp_path / "out.jsonl"
    with serving(brain, status=lambda body: status(body) and 400) as server:
        given = ["build", tmp_path / "traces.jsonl", "--map", "completion=text", "--out", out,
                 "--rewriter", "llm", "--base-url", server.url, "--model", "m"]  # fmt: skip
        monkeypatch.setattr(sys, "argv", ["pdata", *map(str, given)])
        try:
            pdata()
        except SystemExit as e:
            assert not e.code
    metas = [json.loads(line)["meta"] for line in out.read_text().splitlines()]
    for case, meta in zip(CASES, metas, strict=True):
        outcome = find_outcome(meta)
        if case in OUTCOMES:
            assert outcome == OUTCOMES[case], case
        else:
            assert outcome.startswith("no usable reply"), case
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["llm_rewriter.py", str(out)])
    main()
    table = capsys.readouterr().out
    assert f"| forked | {len(BY_MODEL)} |" in table and "| voted down | 2 |" in table
