"""Rows of tables, one at a time: Parquet files and data sets of the Hugging Face hub.

Each row comes as one line of JSON. Knows no roles; imports pyarrow and datasets when it reads.
"""

import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from pbranch.errors import DataError
from pbranch.files.jsonl import to_json

HUB = "hf:"
MOST_HELD = 1 << 30  # bytes of a Parquet file that is packed
BATCH = 128  # rows of a Parquet file that are held at a time


def read_parquet(file: str, packed: IO[bytes] | None = None) -> Iterator[str]:
    """The rows of `file`, or of its content, `packed`, which is then held. Raises DataError when it
    cannot be read."""
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        # without buffer_size a whole row group is held, which is often the whole file
        content = file if packed is None else io.BytesIO(packed.read(MOST_HELD + 1))
        if isinstance(content, io.BytesIO) and content.getbuffer().nbytes > MOST_HELD:
            raise DataError(f"{file}: more than {MOST_HELD >> 20} MiB of Parquet, unpack it first")
        with parquet.ParquetFile(content, buffer_size=1 << 20, pre_buffer=False) as table:
            for batch in table.iter_batches(BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield to_line(row)
    except (OSError, pyarrow.ArrowException, UnicodeDecodeError) as e:
        raise DataError(f"{file}:{number + 1}: cannot read ({_one_line(e)})") from e


def read_hub(source: str) -> Iterator[str]:
    """The rows of `hf:dataset[:split]` or `hf:dataset:config:split`, streamed.

    dataset: an id of the hub, or a folder. The split defaults to `train`, or to the only one.
    Raises DataError when it cannot be reached or read.
    """
    name, config, split = parse_hub(source)
    from datasets import IterableDatasetDict, load_dataset_builder

    number = 0
    try:
        # datasets runs no Python of a data set's repository since 4.0
        builder = load_dataset_builder(name, config)
        _refuse_foreign_files(source, name, builder.config.data_files)
        splits = builder.as_streaming_dataset()
        assert isinstance(splits, IterableDatasetDict)
        chosen = split or _default_split(source, list(splits))
        if chosen not in splits:
            raise DataError(f"{source}: no split {chosen!r}; found {', '.join(splits)}")
        if split is None:
            print(f"{source}: split {chosen}", file=sys.stderr)
        for row in splits[chosen]:
            number += 1
            yield to_line(row)
    except DataError:
        raise
    except Exception as e:  # whatever a stranger's server, format or builder raises
        raise DataError(f"{source}:{number + 1}: cannot read ({_one_line(e)})") from e


def _refuse_foreign_files(source: str, name: str, data_files: Any) -> None:
    """DataError on a file outside the data set: its README may name any path and any address."""
    folder = Path(name).resolve() if Path(name).exists() else None
    own = re.compile(rf"hf://datasets/([^/@]+/)?{re.escape(name.rpartition('/')[2])}@")
    for split, files in (data_files or {}).items():
        for file in files:
            place = str(file).rpartition("::")[2]  # in an archive: zip://MEMBER::ARCHIVE
            if folder is not None and "://" not in place:
                inside = Path(place).resolve().is_relative_to(folder)
            else:
                inside = folder is None and own.match(place) is not None
            if not inside or ".." in Path(place).parts:
                raise DataError(f"{source}: split {split}: {file} lies outside the data set")


def parse_hub(source: str) -> tuple[str, str | None, str | None]:
    """(data set, config, split) of an `hf:` source. Raises DataError."""
    name, *rest = source.removeprefix(HUB).split(":")
    if not name or len(rest) > 2 or not all(rest):
        raise DataError(
            f"{source}: expected hf:dataset, hf:dataset:split or hf:dataset:config:split"
        )
    config, split = (None, *rest)[-2:] if rest else (None, None)
    return name, config, split


def _default_split(source: str, splits: list[str]) -> str:
    if "train" in splits:
        return "train"
    if len(splits) != 1:
        raise DataError(f"{source}: has the splits {', '.join(splits)}; expected one of them named")
    return splits[0]


def to_line(row: dict[str, Any]) -> str:
    """A row as JSON; what JSON cannot hold becomes text."""
    return to_json(row, default=_as_text)


def _as_text(value: Any) -> str:
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else str(value)


def _one_line(error: Exception) -> str:
    """The beginning of what `error` says, or its name."""
    return " ".join(str(error).split())[:300] or type(error).__name__
