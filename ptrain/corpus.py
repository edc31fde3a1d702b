"""Linear traces as rows of token ids for pretraining: read, tokenise, pack; cached in one file.

A row holds whole documents one after another under plain causal attention. Targets are the
tokens of completions, never those of prompts, whose names and numbers are random.
"""

import glob
import gzip
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from pbranch.errors import DataError

CHUNK = 4096  # traces tokenised at a time


@dataclass(frozen=True, slots=True)
class Corpus:
    """ids (rows, length) uint16, and whether each is a target, as uint8; padding is none."""

    ids: np.ndarray
    targets: np.ndarray
    documents: int
    dropped: int  # longer than a row


def list_files(patterns: Sequence[str]) -> list[Path]:
    """The files that the glob patterns name, sorted. Raises DataError where one names none."""
    files: list[Path] = []
    for pattern in patterns:
        found = sorted(Path(p) for p in glob.glob(pattern))
        if not found:
            raise DataError(f"{pattern}: no such file; make it with `pdata synth mix`")
        files += found
    return files


def read_traces(files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """The records of JSONL files, plain or gzipped. Raises DataError naming file and line."""
    for path in files:
        with _open(path) as lines:
            for number, line in enumerate(lines, 1):
                try:
                    row = json.loads(line)
                    yield {"messages": row["messages"], "completion": row["completion"]}
                except (json.JSONDecodeError, KeyError, TypeError) as e:
                    raise DataError(f"{path}:{number}: not a trace record ({e})") from e


def read_texts(files: Sequence[Path], n: int) -> Iterator[str]:
    """The plain text of the first `n` traces, for training a tokenizer."""
    for row in islice(read_traces(files), n):
        yield "\n".join([*(m["content"] for m in row["messages"]), row["completion"]])


def load_corpus(
    files: Sequence[Path], tokenizer: PreTrainedTokenizerFast, length: int, cache: Path
) -> Corpus:
    """The corpus of `files` in rows of `length`, taken from `cache` where that is of the same."""
    stats = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    words = sorted(tokenizer.get_vocab().items())
    key = hashlib.sha256(repr((stats, words, length)).encode()).hexdigest()
    if cache.exists():
        with np.load(cache) as saved:
            if str(saved["key"]) == key:
                return Corpus(saved["ids"], saved["targets"], *saved["counts"].tolist())
    corpus = _pack(*_tokenise(files, tokenizer), length, tokenizer.pad_token_id)
    cache.parent.mkdir(parents=True, exist_ok=True)
    part = cache.with_suffix(".part.npz")
    counts = np.array([corpus.documents, corpus.dropped])
    np.savez(part, key=key, ids=corpus.ids, targets=corpus.targets, counts=counts)
    os.replace(part, cache)
    return corpus


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return open(path, encoding="utf-8")


def _tokenise(
    files: Sequence[Path], tokenizer: PreTrainedTokenizerFast
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All ids in one array; per document its length and how many of them are the prompt's."""
    ids: list[np.ndarray] = []
    lengths: list[int] = []
    prompts: list[int] = []
    traces = read_traces(files)
    encode = tokenizer.backend_tokenizer.encode_batch_fast
    while chunk := list(islice(traces, CHUNK)):
        heads: Any = tokenizer.apply_chat_template(
            [row["messages"] for row in chunk], tokenize=False, add_generation_prompt=True
        )
        # the end of the turn, as the template writes it, is part of what is learned
        tails = [f"{row['completion']}{tokenizer.eos_token}\n" for row in chunk]
        sides = [encode(texts, add_special_tokens=False) for texts in (heads, tails)]
        for head, tail in zip(*sides, strict=True):
            ids.append(np.array(head.ids + tail.ids, dtype=np.uint16))
            lengths.append(len(head.ids) + len(tail.ids))
            prompts.append(len(head.ids))
        if len(lengths) % (8 * CHUNK) == 0:
            print(f"tokenised {len(lengths):,} traces", file=sys.stderr, flush=True)
    if not ids:
        raise DataError(f"{files[0]}: holds no traces")
    return np.concatenate(ids), np.array(lengths), np.array(prompts)


def _pack(
    ids: np.ndarray, lengths: np.ndarray, prompts: np.ndarray, length: int, pad: int
) -> Corpus:
    """Each document into the fullest open row that it fits, else into a new one."""
    places, dropped = _place(lengths.tolist(), length)
    rows = 1 + max((row for row, _ in places.values()), default=-1)
    if not rows:
        raise DataError(f"every trace is longer than a row of {length} tokens")
    packed = np.full((rows, length), pad, dtype=np.uint16)
    targets = np.zeros((rows, length), dtype=np.uint8)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    for document, (row, column) in places.items():
        end = column + lengths[document]
        packed[row, column:end] = ids[starts[document] : starts[document + 1]]
        targets[row, column + prompts[document] : end] = 1
    return Corpus(packed, targets, len(places), dropped)


def _place(lengths: list[int], length: int) -> tuple[dict[int, tuple[int, int]], int]:
    """Document: (row, column); and the number of documents that no row can hold."""
    places: dict[int, tuple[int, int]] = {}
    open_rows: list[list[int]] = [[] for _ in range(length + 1)]  # by the room that is left
    has_room = 0  # bit r: some row has room r; finds the best fit in a few integer operations
    rows = 0
    for document, size in enumerate(lengths):
        if size > length:
            continue
        fitting = has_room >> size
        if fitting:
            room = size + (fitting & -fitting).bit_length() - 1
            row = open_rows[room].pop()
            if not open_rows[room]:
                has_room &= ~(1 << room)
        else:
            room, row, rows = length, rows, rows + 1
        places[document] = (row, length - room)
        left = room - size
        open_rows[left].append(row)
        has_room |= 1 << left
    return places, len(lengths) - len(places)
