"""Where the shipped model lies: in a checkout `data/tiny`, in an installed wheel `pbranch/tiny`."""

from pathlib import Path

from pbranch.errors import ModelError


def shipped(name: str) -> Path:
    """Folder of the shipped `base` or `adapter`."""
    here = Path(__file__).resolve().parent
    for root in (here.parent / "data" / "tiny", here / "tiny"):
        if (root / name / "config.json").is_file() or (
            root / name / "adapter_config.json"
        ).is_file():
            return root / name
    raise ModelError(f"the shipped {name} is missing from this installation; name one with --model")
