"""Linear traces as token ids for pretraining: read, tokenise, sort by length; cached in one file.

A sequence of a batch is one document: labels such as "Case 2" recur in every one, and a model that
sees two of them looks the wrong one up. Targets are the tokens of completions, never of prompts,
nor of a completion's first `meta.begun` characters.
"""

import glob
import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from pbranch.errors import DataError
from pbranch.files.atomic import atomic_write
from pbranch.files.jsonl import read_lines

CHUNK = 4096  # traces tokenised at a time


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents from the shortest to the longest: all ids (tokens,) uint16 in one array, where each
    starts (documents + 1,), and how many of its tokens are the prompt's, or begun (documents,)."""

    ids: np.ndarray
    starts: np.ndarray
    prompts: np.ndarray
    dropped: int = 0  # longer than `max_length`

    def __len__(self) -> int:
        return len(self.prompts)

    def micro_batch(
        self, share: float, tokens: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """(ids, labels), each (documents, length), of neighbours in length, with at most `tokens`
        in all; drawn from the shortest `share` of the corpus. Labels are -100 where none is."""
        allowed = max(1, int(len(self) * share))
        last = int(generator.integers(allowed))
        length = int(self.starts[last + 1] - self.starts[last])
        first = max(0, last + 1 - max(1, tokens // length))
        ids = np.zeros((last + 1 - first, length), dtype=np.int64)
        labels = np.full_like(ids, -100)
        for row, document in enumerate(range(first, last + 1)):
            own = self.ids[self.starts[document] : self.starts[document + 1]]
            prompt = self.prompts[document]
            ids[row, : len(own)] = own
            labels[row, prompt : len(own)] = own[prompt:]
        return ids, labels


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
    """What is learned of the records of JSONL files, plain or gzipped: messages, and the completion
    in two parts, begun and rest. Raises DataError naming file and line."""
    for line in chain.from_iterable(map(read_lines, files)):
        try:
            row = line.parse()
            text = row["completion"]
            begun = (row.get("meta") or {}).get("begun", 0)
            yield {"messages": row["messages"], "begun": text[:begun], "rest": text[begun:]}
        except (DataError, KeyError, TypeError) as e:
            raise DataError(f"{line.origin}: not a trace record ({e})") from e


def read_texts(files: Sequence[Path], n: int) -> Iterator[str]:
    """The plain text of the first `n` traces, for training a tokenizer."""
    for row in islice(read_traces(files), n):
        yield "\n".join([*(m["content"] for m in row["messages"]), row["begun"] + row["rest"]])


def load_corpus(
    files: Sequence[Path], tokenizer: PreTrainedTokenizerFast, length: int, cache: Path
) -> Corpus:
    """The documents of `files` up to `length` tokens; from `cache` where that is of the same."""
    stats = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    words = sorted(tokenizer.get_vocab().items())
    key = hashlib.sha256(repr((stats, words, length)).encode()).hexdigest()
    if cache.exists():
        with np.load(cache) as saved:
            if str(saved["key"]) == key:
                return Corpus(
                    saved["ids"], saved["starts"], saved["prompts"], int(saved["dropped"])
                )
    corpus = _sort(*_tokenise(files, tokenizer), length)
    with atomic_write(cache) as file:
        np.savez(
            file,
            key=key,
            ids=corpus.ids,
            starts=corpus.starts,
            prompts=corpus.prompts,
            dropped=corpus.dropped,
        )
    return corpus


def _tokenise(
    files: Sequence[Path], tokenizer: PreTrainedTokenizerFast
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All ids in one array; per document its length and how many of them are no targets."""
    ids: list[np.ndarray] = []
    lengths: list[int] = []
    prompts: list[int] = []
    traces = read_traces(files)
    encode = tokenizer.backend_tokenizer.encode_batch_fast
    while chunk := list(islice(traces, CHUNK)):
        asked: Any = tokenizer.apply_chat_template(
            [row["messages"] for row in chunk], tokenize=False, add_generation_prompt=True
        )
        heads = [text + row["begun"] for text, row in zip(asked, chunk, strict=True)]
        # the end of the turn, as the template writes it, is part of what is learned
        tails = [f"{row['rest']}{tokenizer.eos_token}\n" for row in chunk]
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


def _sort(ids: np.ndarray, lengths: np.ndarray, prompts: np.ndarray, longest: int) -> Corpus:
    starts = np.concatenate([[0], np.cumsum(lengths)])
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] <= longest]
    if not len(order):
        raise DataError(f"every trace is longer than {longest} tokens")
    sorted_ids = np.concatenate([ids[starts[d] : starts[d + 1]] for d in order])
    sorted_starts = np.concatenate([[0], np.cumsum(lengths[order])])
    return Corpus(sorted_ids, sorted_starts, prompts[order], len(lengths) - len(order))
