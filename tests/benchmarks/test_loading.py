"""benchmarks/loading.py loads both ways, in processes of their own."""

import json
import subprocess
import sys

import pytest

from tests.support.checkpoints import save_base
from tests.support.repository import ROOT


@pytest.mark.slow
def test_it_measures_both_arms(tmp_path, byte_tokenizer):
    base = save_base(tmp_path / "base", byte_tokenizer)
    command = [sys.executable, ROOT / "benchmarks" / "loading.py", base, "--rounds", "1"]
    done = subprocess.run(
        [*command, "--dtypes", "float32", "--json"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert row["dtype"] == "float32"
    for name, least in (("seconds", 0.01), ("peak_bytes", 50e6)):
        figures = row[name]
        assert min(figures["ours"], figures["transformers"]) > least
        assert figures["ratio"] == figures["ours"] / figures["transformers"]
