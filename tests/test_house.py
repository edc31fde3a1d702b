"""The house rules that a machine can check: imports, sizes, names, first lines, light CLIs."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "pbranch": ROOT / "pbranch",
    "pdata": ROOT / "data" / "pdata",
    "pinfer": ROOT / "pinfer",
    "ptrain": ROOT / "ptrain",
}
# file: the package that it may import besides pbranch and its own
ACROSS = {"ptrain/trainer/evaluate.py": "pinfer"}  # generations during training

# The folders and root files of a package, lowest first: each imports only what stands before it.
LAYERS = {
    "pbranch": """
        errors.py console.py bounds.py files rates.py format hf __init__.py __main__.py
    """.split(),
    "pdata": """
        __init__.py worker_processes.py record.py roles sources rules grading judge validate.py
        synthetic llm report build publish.py commands cli.py
    """.split(),
    "pinfer": """
        cost params.py warping.py model_spec.py eviction request kv_cache attention dialects
        drafting scheduling sampling reference.py execution core.py models output engine.py
        engine_loop.py __init__.py evaluation bench commands cli.py __main__.py
    """.split(),
    "ptrain": """
        __init__.py config.py compat.py data model start.py checkpoints artifacts trainer pretrain
        check.py train.py lookahead recipe.py __main__.py cli.py
    """.split(),
}

HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")
# the spelling of a marker, put together so that this file does not spell one
SPELLED = re.compile(r"<\\?\|\\*" + "pb_")


def sources() -> Iterator[tuple[str, str, Path]]:
    """(package, name, path) of every module that is shipped; name: `pinfer/request/state.py`."""
    for package, top in PACKAGES.items():
        for path in sorted(top.rglob("*.py")):
            yield package, f"{package}/{path.relative_to(top).as_posix()}", path


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def report(offenders: list[str]) -> None:
    """Fails with all of them, a line each."""
    assert not offenders, "\n" + "\n".join(offenders)


def find_module(name: str) -> Path | None:
    """The file of a dotted name, if it is a module of ours."""
    package, *parts = name.split(".")
    if package not in PACKAGES:
        return None
    place = PACKAGES[package].joinpath(*parts)
    options = (place.with_suffix(".py"), place / "__init__.py")
    return next((path for path in options if path.exists()), None)


def find_definition(module: str, name: str) -> Path | None:
    """The file that `from module import name` leads to: through the `__init__` that re-exports it,
    if need be, to the file that defines it."""
    if path := find_module(f"{module}.{name}"):
        return path
    path = find_module(module)
    if path is None or path.name != "__init__.py":
        return path
    for node in ast.walk(ast.parse(text(path))):
        if isinstance(node, ast.ImportFrom) and node.module:
            if any((alias.asname or alias.name) == name for alias in node.names):
                return find_definition(node.module, name)
    return path


def imports(path: Path) -> Iterator[tuple[int, str, Path | None]]:
    """(line, top-level name, file if it is ours) of all imports of a file: also those inside
    functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(text(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.split(".")[0], find_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = "." if node.level else node.module or ""
            for alias in node.names:
                yield node.lineno, module.split(".")[0], find_definition(module, alias.name)


def box(package: str, path: Path) -> str:
    """The folder of a package that a file lies in (subfolders belong to it), or the root file."""
    return path.relative_to(PACKAGES[package]).parts[0]


def test_packages_import_one_way():
    """pbranch imports no other package, the others import pbranch alone; imports are absolute."""
    report(
        [
            f"{name}:{line} imports {top or 'relatively'}"
            for package, name, path in sources()
            for line, top, _ in imports(path)
            if not top or (top in PACKAGES and top not in (package, "pbranch", ACROSS.get(name)))
        ]
    )


def test_no_import_points_up_the_layers():
    """LAYERS is a total order, so without an import that points up there is no circle either."""
    there = {(package, box(package, path)) for package, _, path in sources()}
    listed = {(package, name) for package, layers in LAYERS.items() for name in layers}
    report([f"{p}/{b}: LAYERS misses it, or lists it in vain" for p, b in sorted(there ^ listed)])
    up: dict[tuple[str, str], str] = {}
    for package, name, path in sources():
        layers, own = LAYERS[package], box(package, path)
        for line, top, target in imports(path):
            if top == package and target is not None:
                other = box(package, target)
                if layers.index(other) > layers.index(own):
                    up[name, other] = f"{name}:{line} imports {other}, which is above {own}"
    report(list(up.values()))


def test_files_and_folders_are_small():
    offenders, folders = [], dict[Path, int]()
    for _, name, path in sources():
        folders[path.parent] = folders.get(path.parent, 0) + 1
        lines, most = len(text(path).splitlines()), 150 if path.name == "cli.py" else 300
        if lines > most:
            offenders.append(f"{name}: {lines} lines, at most {most}")
    offenders += [f"{f}: {n} files, at most 12" for f, n in folders.items() if n > 12]
    report(offenders)


def test_every_file_says_what_it_is():
    """Names are nouns; the first line is the docstring, and says more than the name does."""
    offenders = []
    for _, name, path in sources():
        if re.fullmatch(r"utils?|common|helpers|misc|.*_v\d+", path.stem):
            offenders.append(f"{name}: the name is no noun for what it holds")
        docstring = (ast.get_docstring(ast.parse(text(path)), clean=False) or "").strip()
        first = text(path).partition("\n")[0]
        said = set(re.findall(r"\w+", docstring.partition("\n")[0].lower()))
        if not re.match(r'r?"""\S', first) or len(said - set(path.stem.split("_"))) < 2:
            offenders.append(f"{name}: the first line does not say what the file is: {first}")
        most = 16 if name == "pbranch/errors.py" else 6  # the former draws the exception tree
        if len(docstring.splitlines()) > most:
            offenders.append(f"{name}: more than {most} lines of docstring")
    report(offenders)


def test_markers_are_spelled_in_one_file():
    report(
        [
            f"{name}:{i} spells a marker"
            for _, name, path in sources()
            if name != "pbranch/format/markers.py"
            for i, line in enumerate(text(path).splitlines(), 1)
            if SPELLED.search(line)
        ]
    )


def test_every_package_is_in_the_wheel():
    """Packages are listed by hand in pyproject.toml; a folder left out would be missing."""
    settings = tomllib.loads(text(ROOT / "pyproject.toml"))
    listed = set(settings["tool"]["setuptools"]["packages"])
    there = {name.rpartition("/")[0].replace("/", ".") for _, name, _ in sources()}
    report([f"{name} is not in the wheel" for name in sorted(there - listed)])
    # a module called `data` would be shadowed by any `data.py` in a user's folder
    assert not (ROOT / "data" / "__init__.py").exists()


def git(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_git_ignores_no_source():
    """A careless `build/` or `data/` in .gitignore would keep modules out of a clone."""
    paths = [str(path.relative_to(ROOT)) for _, _, path in sources()]
    paths += ["data/samples/x.jsonl.gz", "data/tiny/base/config.json"]
    paths += [
        "data/pdata/build/pipeline.py",
        "recipes/sft.yaml",
        "docs/build.md",
        "tests/pdata/build/test_pipeline.py",
    ]
    ignored = git("check-ignore", "--no-index", *paths)
    assert ignored.returncode == 1 and ignored.stdout == "", f"ignored: {ignored.stdout}"
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
    "ptrain.cli": ["sft", "lookahead", "check", "merge", "publish"],
    "pdata.cli": ["synth", "build", "check", "stats", "convert", "distill"],
    "pbranch.__main__": ["show", "fetch"],
}


@pytest.mark.parametrize("module", COMMANDS)
def test_help_imports_nothing_heavy(module):
    code = LIGHT.format(module=module, commands=COMMANDS[module], heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "", f"{module} --help imports {done.stdout}"


def test_what_a_request_holds_can_be_read():
    """Requests and lanes are what every part of the engine looks at: few fields, grouped."""
    from dataclasses import fields

    from pinfer.request.state import Lane, Request

    report([f"{kind.__name__}: {len(fields(kind))} fields" for kind in (Request, Lane)
            if len(fields(kind)) > 14])  # fmt: skip
