"""What is installed is pinned, and its licence listed."""

import re
import tomllib

from tests.support.repository import ROOT

# built for one release of CUDA and torch; a tool of developers that installs its hooks by itself
UNPINNED = {"flash-attn", "pre-commit"}


def name(requirement: str) -> str:
    """As package indexes compare names."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=~; ]", requirement)[0]).casefold()


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pin) == 2 for pin in found)
    return {name(package): version for package, version in found}


def test_all_that_is_asked_for_is_pinned():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = settings["project"]
    extras = project["optional-dependencies"].values()
    asked = [*project["dependencies"], *(x for extra in extras for x in extra)]
    assert {name(x) for x in asked} - UNPINNED <= pins().keys()
    for tool in settings["build-system"]["requires"]:
        assert tool == f"{name(tool)}=={pins()[name(tool)]}"


def test_every_licence_is_listed():
    page = (ROOT / "docs" / "licences.md").read_text()
    listed = {name(x) for x in re.findall(r"^\| ([\w.-]+) \|", page, re.M)}
    listed |= {name(x) for x in re.split(r"[,.:\s]+", page.split("extras alone")[1])}
    assert pins().keys() <= listed


def test_every_pin_has_a_hash():
    lines = (ROOT / "constraints-hashes.txt").read_text().splitlines()
    pattern = r"([\w.-]+)==(\S+) --hash=sha256:[0-9a-f]{64}"
    found = [re.fullmatch(pattern, line) for line in lines if not line.startswith("#")]
    hashed = {name(match[1]): match[2] for match in found if match}
    assert all(found)
    assert hashed.items() == {(k, v) for k, v in pins().items() if k != "antlr4-python3-runtime"}
