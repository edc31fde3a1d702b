"""The house rules that a machine can check: arrows between packages, sizes, names, light CLIs."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {
    "pbranch": ROOT / "pbranch",
    "pdata": ROOT / "data" / "pdata",
    "pinfer": ROOT / "pinfer",
    "ptrain": ROOT / "ptrain",
}
MAY_IMPORT = {
    "pbranch": set(),
    "pdata": {"pbranch"},
    "pinfer": {"pbranch"},
    "ptrain": {"pbranch"},
}
EXCEPTIONS = {"ptrain/trainer/evaluate.py": {"pinfer"}}  # generations during training
HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")
# the spelling of a marker, put together so that this file does not spell one
SPELLED = re.compile(r"<\\?\|\\*" + "pb_")


def modules() -> list[tuple[str, Path]]:
    """(package, file) of every module that is shipped."""
    return [(name, path) for name, top in FOLDERS.items() for path in sorted(top.rglob("*.py"))]


def name_of(item: tuple[str, Path]) -> str:
    package, path = item
    return f"{package}/{path.relative_to(FOLDERS[package]).as_posix()}"


def each_module():
    return pytest.mark.parametrize("item", modules(), ids=name_of)


def imports(tree: ast.AST) -> set[str]:
    """Top-level names of everything that is imported, at any depth of the file."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            found.add((node.module or "").split(".")[0])
    return found


@each_module()
def test_imports_flow_one_way(item):
    package, path = item
    ours = imports(ast.parse(path.read_text(encoding="utf-8"))) & set(FOLDERS)
    allowed = {package} | MAY_IMPORT[package] | EXCEPTIONS.get(name_of(item), set())
    assert ours <= allowed, f"{name_of(item)} imports {sorted(ours - allowed)}"


@each_module()
def test_markers_are_spelled_in_one_file(item):
    if name_of(item) == "pbranch/format/markers.py":
        return
    lines = item[1].read_text(encoding="utf-8").splitlines()
    assert not [i for i, line in enumerate(lines, 1) if SPELLED.search(line)]


@each_module()
def test_files_are_short_and_say_what_they_do(item):
    source = item[1].read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 300
    docstring = ast.get_docstring(ast.parse(source), clean=False)
    assert docstring, "a module docstring is missing"
    drawn = name_of(item) == "pbranch/errors.py"  # its docstring is the exception tree
    assert len(docstring.strip().splitlines()) <= (16 if drawn else 6)


@each_module()
def test_file_names_are_nouns(item):
    stem = item[1].stem
    assert stem not in ("utils", "util", "common", "helpers", "misc")
    assert not re.search(r"_v\d+$", stem)


def test_cli_files_are_thin():
    for name, top in FOLDERS.items():
        for path in top.glob("cli.py"):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 150, name


def test_data_is_no_package():
    """A module called `data` would be shadowed by any `data.py` in a user's folder."""
    assert not (ROOT / "data" / "__init__.py").exists()


def git(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_git_ignores_no_source():
    """A careless `build/` or `data/` in .gitignore would keep modules out of a clone."""
    sources = [str(path.relative_to(ROOT)) for _, path in modules()]
    sources += ["data/samples/x.jsonl.gz", "data/tiny/base/config.json"]
    sources += [
        "data/pdata/build/pipeline.py",
        "recipes/sft.yaml",
        "docs/build.md",
        "tests/pdata/build/test_pipeline.py",
    ]
    found = git("check-ignore", "--no-index", *sources)
    assert found.returncode == 1 and found.stdout == "", f"ignored: {found.stdout}"
    assert git("check-ignore", "--no-index", "runs/demo/report.json").returncode == 0


LIGHT = """
import importlib, sys
from typer.testing import CliRunner
app = importlib.import_module({module!r}).app
runner = CliRunner()
for arguments in [["--help"], *([c, "--help"] for c in {commands!r})]:
    found = runner.invoke(app, arguments)
    assert found.exit_code == 0, (arguments, found.output)
    assert "Usage" in found.output
print(*sorted(set({heavy!r}) & set(sys.modules)))
"""
COMMANDS = {
    "pinfer.cli": ["generate", "bench", "env"],
    "ptrain.cli": ["sft", "check", "merge", "publish"],
    "pdata.cli": ["synth", "build", "check", "stats", "convert", "distill"],
    "pbranch.__main__": ["show"],
}


@pytest.mark.parametrize("module", COMMANDS)
def test_help_imports_nothing_heavy(module):
    code = LIGHT.format(module=module, commands=COMMANDS[module], heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "", f"{module} --help imports {done.stdout}"


def test_every_package_is_in_the_wheel():
    """Packages are listed by hand in pyproject.toml; a folder left out would be missing."""
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(settings["tool"]["setuptools"]["packages"])
    found = set()
    for package, path in modules():
        inner = path.parent.relative_to(FOLDERS[package]).parts
        found.add(".".join([package, *inner]))
    assert found <= listed, f"not in the wheel: {sorted(found - listed)}"
