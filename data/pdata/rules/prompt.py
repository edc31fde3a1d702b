"""What the prompt knows: its words, and whether a name stands in it. Knows no traces."""

import re
from dataclasses import dataclass, field
from functools import cached_property

# an opening word that is no name, whatever the prompt holds
COMMON = frozenset(
    "a an and as at all also but by each every final finally first for from given hence here he "
    "how however i if in is it its let next no not now of on one only or our out second she since "
    "so some such take that the their then there therefore these they this those thus to two we "
    "what when where which while who with you".split()
)
NUMBER_WORDS = {
    word: str(n) for n, word in enumerate("two three four five six seven eight nine ten".split(), 2)
}
_HEADS = re.compile(r"['\"’]?\s*[:：=]|\)\s")  # what follows the name of an item
# the number of a part of a question; that of f(1) is none
_PART = re.compile(r"(?<![\w\\})^=])[(（] ?([\da-hⅠⅡⅢⅣ]|i{1,3}|I{1,3}) ?[)）]")
# an option with its words, up to the next one or the end of the line: A: four, (B) five, 'C': 'six'
_CHOICE = re.compile(
    r"(?<![\w.])([A-J])[\"')）]*[ \t]*[:：.)．、）][ \t]*"
    r"([^\n]+?)(?=\n|$|[\s,，;；('\"（]+[B-J][\"')）]*[ \t]*[:：.)．、）])"
)
_WRAPPED = re.compile(r"[\"'][\])}]+$")  # the end of a record
_COUNTS = ("123456", "abcdef", "ⅠⅡⅢⅣ", ("I", "II", "III"), ("i", "ii", "iii"))
_SUBSCRIPT = re.compile(r"_\{(\w+)\}")


@dataclass(frozen=True)
class Prompt:
    """The prompt's text, with look-up of names in it."""

    text: str
    _known: dict[str, bool] = field(default_factory=dict)

    @cached_property
    def words(self) -> frozenset[str]:
        """Its words in lower case; a letter with its subscript, a_{1}, is one: a_1."""
        return frozenset(re.findall(r"\w+", _SUBSCRIPT.sub(r"_\1", self.lower)))

    @cached_property
    def parts(self) -> list[str]:
        """Its stem and the parts that it counts, (1), (2), ..., none where it counts fewer."""
        marks = [*_PART.finditer(self.text)]
        for counts in _COUNTS:
            at, places = 0, []
            for count in counts:
                mark = next((m for m in marks if m.start() >= at and m[1] == count), None)
                if mark is None:
                    break
                places.append(mark.start())
                at = mark.end()
            if len(places) > 1:
                ends = [*places[1:], len(self.text)]
                parts = [self.text[a:b] for a, b in zip(places, ends, strict=True)]
                return [self.text[: places[0]], *parts]
        return []

    @cached_property
    def options(self) -> dict[str, str]:
        """The words of the options A, B, ... that it lists last, by letter."""
        found: dict[str, str] = {}
        for mark in _CHOICE.finditer(self.text):
            if mark[1] == "A":
                found = {}
            if ord(mark[1]) == ord("A") + len(found):
                found[mark[1]] = _WRAPPED.sub("", mark[2]).strip(" \t\"'.。,，;；")
        return found

    @cached_property
    def digits_in_words(self) -> frozenset[str]:
        """The numbers up to ten that it writes out, in digits."""
        return frozenset(digit for word, digit in NUMBER_WORDS.items() if word in self.words)

    @cached_property
    def lower(self) -> str:
        """Its text in lower case."""
        return self.text.lower()

    def says(self, phrase: str) -> bool:
        """Whether `phrase` stands there as whole words, in any case."""
        return re.search(rf"(?<!\w){re.escape(phrase.lower())}(?!\w)", self.lower) is not None

    def mentions(self, name: str) -> list[tuple[int, int]]:
        """Where `name` stands as whole words: start and end."""
        places, at = [], self.text.find(name) if name else -1
        while at >= 0:
            end = at + len(name)
            if not _is_word(self.text[at - 1 : at]) and not _is_word(self.text[end : end + 1]):
                places.append((at, end))
            at = self.text.find(name, at + 1)
        return places

    def knows(self, name: str) -> bool:
        """Whether `name` stands there as the name of something."""
        if name not in self._known:
            self._known[name] = bool(name) and self._is_name(name)
        return self._known[name]

    def lists(self, name: str) -> bool:
        """Whether `name` heads an item: "A: 3 + 4", "- Ann = 5", "(A) four"."""
        return any(_HEADS.match(self.text, end) for _, end in self.mentions(name))

    def _is_name(self, name: str) -> bool:
        places = self.mentions(name) if name in self.text else []
        if not places or name.split()[0].lower() not in COMMON:
            return bool(places)
        # a common word is a name where it heads an item: "A: 3 + 4", "No 5: ..."
        return self.lists(name)


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"
