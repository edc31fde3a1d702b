"""The built wheel, used outside the checkout: commands answer, the shipped model is there."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder with the contents of the wheel and nothing else."""
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as z:
        z.extractall(out / "site")
    return out / "site"


def run(site: Path, code: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run Python outside the checkout with the wheel's packages first."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=site.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
@pytest.mark.parametrize("package", ["pinfer", "ptrain", "pdata"])
def test_help_does_not_import_torch(site, package) -> None:
    code = (
        f"import sys, {package}.cli as c; sys.argv = ['{package}', '--help']\n"
        "try: c.main()\n"
        "except SystemExit as e: assert not e.code\n"
        f"assert c.__file__.startswith({str(site)!r}), c.__file__\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    done = run(site, code)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


@pytest.mark.slow
def test_generate_answers_with_the_shipped_model(site) -> None:
    prompt = "Begin at 8 and follow the list.\nStep 1: add 13; Step 2: add 8\nWhat comes out?"
    code = "import sys, pinfer.cli as c; sys.argv[0] = 'pinfer'; c.main()"
    done = run(site, code, "generate", "--json", "--max-new-tokens", "200", prompt)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert "shipped" in done.stderr
    assert answer["finish_reason"] == "stop" and answer["text"].endswith("answer: 29")


@pytest.mark.slow
def test_report_is_written_from_the_wheel(site) -> None:
    code = (
        "import sys; from pdata.synthetic.generator import make_record\n"
        "from pdata.record import write_jsonl\n"
        "from pdata.report.html import write_html\n"
        "write_jsonl('a.jsonl', [make_record('records', 3, 0, 4, 'train')])\n"
        "write_html('a.jsonl', 'a.html')"
    )
    done = run(site, code)
    assert done.returncode == 0, done.stderr
    assert "<!doctype html>" in (site.parent / "a.html").read_text(encoding="utf-8")
