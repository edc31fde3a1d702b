"""Where a command writes, compared with what it reads; and what a run that goes on must share with
the one before it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pbranch.errors import DataError
from pbranch.files.file_identity import refuse_overwriting
from pbranch.files.run_facts import check_run, digest, facts_path
from pdata.record import rejected_path
from pdata.sources.containers import split_member
from pdata.sources.parquet_and_hub import HUB, parse_hub
from pdata.sources.reader import SourceFile, is_data, list_files


def check_out(out: Path, source: str, *others: Path) -> list[str]:
    """The files of SOURCE. others: what is written besides `out` and what lies next to it.

    Raises DataError where `out` is no .jsonl file, where one that is written is read too, or lies
    in the folder that is read and would be a source of the next run.
    """
    if not out.name.endswith(".jsonl"):
        raise DataError(f"{out}: expected a .jsonl file, since .rejected.jsonl goes next to it")
    files = list_files(source)
    written = [out, rejected_path(out), facts_path(out), *others]
    read = [_place(file) for file in files]
    refuse_overwriting(written, read)
    for path in written:
        if Path(source).is_dir() and is_data(path.name):
            if path.parent.resolve() == Path(source).resolve():
                raise DataError(
                    f"{path}: lies in {source}, and would be a source of the next run; give "
                    "another --out"
                )
    return files


def check_resume(out: Path, settings: Mapping[str, Any], resume: bool) -> None:
    """Store what a run is made of, or compare it with that of the one it goes on with, where that
    has left a line. Raises DataError on the first setting that has changed."""
    written = any(path.exists() and path.stat().st_size for path in (out, rejected_path(out)))
    check_run(out, settings, resume and written)


def describe_source(files: Iterable[SourceFile]) -> dict[str, str | None]:
    """By what origins call a file: a hash of its bytes; of its first rows, where it is no ordinary
    file. Raises DataError."""
    return {file.name: digest(_place(file.path)) or file.begins for file in files}


def _place(file: str) -> str:
    """The file or folder on the disk that a source's file lies in."""
    return parse_hub(file)[0] if file.startswith(HUB) else split_member(file)[0]
