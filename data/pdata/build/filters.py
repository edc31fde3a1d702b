"""What a build rejects whatever its answer: over-long traces, and near-duplicates of kept ones.

Two traces are near-duplicates when prompt and text each have almost the same words in almost the
same order (SimHash of words and word pairs), and the same numbers and names in the same order: a
problem that differs in those is another one. 30 bytes a trace are kept.
"""

import re
import zlib
from array import array
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from pdata.record import Rejection

# bits of 64; finds a changed word in 91 of 100 questions of GSM8K and 97 of 100 answers, and calls
# no two of its problems alike
MAX_DISTANCE = 7
_WORD = re.compile(r"[^\W_\u3400-\u9fff]+|[\u3400-\u9fff]")
# what tells one problem from another: numbers, and capitals that do not start a sentence
_FACT = re.compile(r"\d+(?:[.,]\d+)*|(?<=[\w,;] )[A-Z]\w*")
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is kept of a trace. words: its length, where a Chinese sign is a word."""

    words: int
    prompt: int
    text: int
    facts: int


def take_fingerprint(prompt: str, text: str) -> Fingerprint:
    """The fingerprint of a trace; the same in every process."""
    asked, said = _words(prompt), _words(text)
    facts = "\0".join([*_facts(prompt), "", *_facts(text)])
    return Fingerprint(len(said), simhash(asked), simhash(said), zlib.crc32(facts.encode()))


def simhash(words: list[str]) -> int:
    """64 bits, of which texts with nearly the same words and word pairs differ in few."""
    if not words:
        return 0
    single = np.fromiter((zlib.crc32(w.encode()) for w in words), np.uint64, len(words))
    single = _mix(single + _GOLDEN)
    pairs = _mix(single[:-1] * _GOLDEN + single[1:])
    features = np.concatenate([single, pairs])
    ones = np.unpackbits(features.view(np.uint8).reshape(-1, 8), axis=1).sum(0, dtype=np.int64)
    return int(np.packbits(2 * ones > len(features)).view(np.uint64)[0])


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _facts(text: str) -> list[str]:
    return _FACT.findall(" ".join(text.split()))


def _mix(values: np.ndarray) -> np.ndarray:
    """Each value's bits spread over all 64 (the finish of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class TraceFilter:
    """Drops traces in the order in which they come; what it lets pass, it compares later ones to.

    To go on with an interrupted run, `add` what that run has kept, in order.
    """

    def __init__(self, max_words: int | None = None, near_duplicates: bool = False) -> None:
        self.max_words, self.near_duplicates = max_words, near_duplicates
        self.files: dict[str, int] = {}
        self.names: list[str] = []
        # of the kept trace number i
        self.where = array("I"), array("Q")  # file, and row
        self.prompts, self.facts = array("Q"), array("I")
        # numbers and texts of the kept traces whose facts end in the same 16 bits
        self.buckets: defaultdict[int, tuple[array[int], array[int]]] = defaultdict(
            lambda: (array("I"), array("Q"))
        )

    def check(self, origin: str, fingerprint: Fingerprint) -> Rejection | None:
        """Why the trace from `origin` (FILE:row) is rejected; None lets it pass and keeps it."""
        if self.max_words is not None and fingerprint.words > self.max_words:
            return Rejection("over-long", f"{fingerprint.words} words; at most {self.max_words}")
        if self.near_duplicates:
            twin = self._find(fingerprint)
            if twin is not None:
                return Rejection("near-duplicate", f"of {self._origin(twin)}")
        self.add(origin, fingerprint)
        return None

    def add(self, origin: str, fingerprint: Fingerprint) -> None:
        """Keep a trace without a question."""
        if not self.near_duplicates:
            return
        file, _, row = origin.rpartition(":")
        if file not in self.files:
            self.files[file] = len(self.names)
            self.names.append(file)
        numbers, texts = self.buckets[fingerprint.facts & 0xFFFF]
        numbers.append(len(self.facts))
        texts.append(fingerprint.text)
        self.where[0].append(self.files[file])
        self.where[1].append(int(row))
        self.prompts.append(fingerprint.prompt)
        self.facts.append(fingerprint.facts)

    def _find(self, fingerprint: Fingerprint) -> int | None:
        """The first kept trace that `fingerprint` is a near-duplicate of."""
        bucket = self.buckets.get(fingerprint.facts & 0xFFFF)
        if bucket is None:
            return None
        numbers, texts = bucket
        distances = np.bitwise_count(np.frombuffer(texts, np.uint64) ^ np.uint64(fingerprint.text))
        for at in np.flatnonzero(distances <= MAX_DISTANCE):
            i = numbers[at]
            near = (self.prompts[i] ^ fingerprint.prompt).bit_count() <= MAX_DISTANCE
            if near and self.facts[i] == fingerprint.facts:
                return i
        return None

    def _origin(self, i: int) -> str:
        return f"{self.names[self.where[0][i]]}:{self.where[1][i]}"
