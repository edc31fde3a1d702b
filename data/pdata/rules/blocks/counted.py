"""What counts a line: Case 3, 2., (b), (iv), 一、, Second approach, 其次. Knows no prompt."""

import re
from dataclasses import dataclass

from pdata.rules.blocks.masks import BLANK
from pdata.rules.blocks.titles import close_bold, is_short
from pdata.rules.prompt import COMMON

_BULLET = r"(?:[-*•+][ \t]+)?"
_BOLD = r"(?:\*\*)?"
_INDENT = rf"{BLANK}{{0,8}}"
# the end of a label, which is not part of it
_STOP = r"(?=\s*[:：]|[.)](?:\s|$)|\s[-–—]\s(?!\s*[\d$]))"
_CIRCLED = "①②③④⑤⑥⑦⑧⑨"
_CN = "一二三四五六七八九十"
_COUNTED = re.compile(
    rf"{_INDENT}{_BULLET}{_BOLD}([A-Z]\w+(?: \w+){{0,4}}) "
    rf"(?:#?(\d+|[A-Z]|[IVX]+)|\(([A-Z])\)){_STOP}"
)
# alone on its line, it needs no colon: "Method 2", "Case 1 with no heads"
_COUNTED_ALONE = re.compile(
    rf"{_INDENT}{_BOLD}"
    r"(Approach|Case|Method|Part|Solution|Way|Scenario|Question|Option|Alternative) "
    r"(\d{1,2}|[A-Z]|[IVX]+)\b(?=[^.:;!?。：]{0,60}$)"
)
_NUMBERED = re.compile(
    rf"{BLANK}*{_BULLET}{_BOLD}(?:"
    # a number may touch a word of Chinese, a year or bold type, where it is no decimal
    rf"(?P<a>\d{{1,3}}|[A-Z]|[IVX]{{2,4}})"
    rf"(?:(?:\.\)|[.)])(?=\s)|(?<=\d)[.)](?=[一-鿿《“【*]|(?:19|20)\d\d年)|(?<=\d)）|[、．])|"
    rf"(?P<b>[A-Za-z])\)(?=\s)|"
    rf"\((?P<c>\w|\d\d|[ivx]{{2,4}})\)(?=[\s一-鿿])|(?P<d>[{_CN}]{{1,3}})(?:、|[.．](?=[^\W\d]))|[（(](?P<e>[{_CN}]{{1,3}}|\d)[）)])"
)
# what is numbered is an alternative, and a sentence about it may begin right away
_OPTION = re.compile(
    rf"{_INDENT}{_BULLET}{_BOLD}(?:"
    r"(Option|Choice|Statement|Answer choice) \(?([A-Z]|[1-9])\)?(?=,? [a-z])|"
    r"(选项|说法)[ \t]*([A-H①-⑨])|([A-H])选?项(?=[:：，,错正说不符是为中的])|([①-⑨])(?=\S))"
)
_COUNTED_CN = re.compile(
    rf"{_INDENT}{_BULLET}{_BOLD}(?:"
    rf"(步骤|情况|情形|方案|方法|解法|思路|案例|部分|问题|文档|选项|维度|方面|场景|阶段|可能|观点|理由|原因)"
    rf"[ \t]*(\d+|[{_CN}]{{1,3}})|"
    rf"第(\d+|[{_CN}]{{1,3}})(部分|步|个|种|点|方面|项|类|位|篇|模块|单元|课|讲))(?=[:：，,、])"
)
# what is said to one part of the question: For (a), 对于（I），
_FOR_PART = re.compile(
    rf"{_INDENT}{_BULLET}{_BOLD}(For(?: part| question| option| case)? |对于?|关于)[ \t]*"
    r"[(（](\d|[A-Za-z]|[IVX]{2,4}|[ivx]{2,4})[ \t]*[)）](?=[,，:：])"
)
_ORDINALS = "First Second Third Fourth Fifth Sixth Seventh Eighth Ninth Tenth".split()
_ORDINAL_LED = re.compile(
    rf"{_INDENT}{_BULLET}{_BOLD}(?:({'|'.join(_ORDINALS)})(ly)?|(Finally|Lastly|Last))"
    r"(?: of all| off)?(?=(?:\*\*)?,\s|(?<=ly):\s)"
)
# what a word counts without a colon
_NOUN = (
    r"(approach|option|case|way|method|reason|point|possibility|scenario|aspect|factor|candidate|"
    r"item|question|document)\b"
)
_ORDINAL = re.compile(
    rf"{_INDENT}{_BULLET}{_BOLD}(?:({'|'.join(_ORDINALS)}) (?:(\w+(?: \w+)?)(?=\s*[:：])|{_NOUN})|"
    rf"The ({'|'.join(_ORDINALS).lower()}) {_NOUN})"
)
_ORDINAL_CN = re.compile(
    rf"{_INDENT}{_BULLET}{_BOLD}(?:[第其]([{_CN}])[，,、：:]|(首先|其次|再次|再来|再者|另外|此外|最后)[，,：:])"
)
# the colon of 10:30 ends no title
_NUMBER_TITLE = re.compile(
    rf"\s*{_BOLD}(?:[^\n:：.]|(?<=\d):(?=\d)){{1,90}}?(?:\*\*)?(?=\s*[:：])(?!:\d)"
)
_PLACES_CN = {
    "首先": 1,
    "其次": 2,
    "再次": 3,
    "再来": 3,
    "再者": 4,
    "另外": 5,
    "此外": 6,
    "最后": 7,
}
_LAST = 99  # the place of what comes last, whatever came before it


@dataclass(frozen=True, slots=True)
class Counted:
    """The counted start of a line. frame: how it is counted; numbers: which one it may be (I is 1
    or 9); bare: whether it says nothing but its number."""

    text: str
    frame: tuple[str, str]
    numbers: tuple[int, ...]
    bare: bool = False


def find_count(line: str) -> Counted | None:
    """What counts a line, if anything does."""
    first = line.lstrip(" \t\xa0\u3000*-•+")[:1]
    if first in "F对关" and (match := _FOR_PART.match(line)):
        return Counted(match[0], (match[1].strip(), ""), _numbers(match[2].upper()))
    if not first.isalpha():
        return _find_option(line) or _find_number(line)
    if not first.isascii():
        return _find_option(line) or _find_chinese(line) or _find_number(line)
    match = _COUNTED.match(line) if first.isupper() else None
    if match and match[1].split()[0].lower() not in COMMON:
        return Counted(match[0], (match[1], ""), _numbers(match[2] or match[3]))
    if match := _COUNTED_ALONE.match(line):
        return Counted(close_bold(line, match[0]), (match[1], "alone"), _numbers(match[2]))
    if first not in "ABCDEFGHLNOST":  # of an ordinal, an option
        return _find_number(line)
    if match := _ORDINAL_LED.match(line):
        number = _LAST if match[3] else _ORDINALS.index(match[1]) + 1
        return Counted(match[0], ("ordinal", ""), (number,))
    if match := _ORDINAL.match(line):
        number = _ORDINALS.index((match[1] or match[4]).capitalize()) + 1
        noun = match[2] or match[3] or match[5]
        return Counted(match[0], (noun, "ordinal"), (number,))
    return _find_option(line) or _find_number(line)


def _find_option(line: str) -> Counted | None:
    """An alternative: Option A, 选项A, A项, ①."""
    if not (match := _OPTION.match(line)):
        return None
    noun = next((match[k] for k in (1, 3) if match[k]), "项" if match[5] else "①")
    return Counted(match[0], (noun, ""), _numbers(match[2] or match[4] or match[5] or match[6]))


def _find_chinese(line: str) -> Counted | None:
    """步骤1, 第一步, 首先."""
    if match := _COUNTED_CN.match(line):
        kind, value = match[1] or match[4], match[2] or match[3]
        return Counted(match[0], (kind, ""), _numbers(value))
    if match := _ORDINAL_CN.match(line):
        places = _numbers(match[1]) if match[1] else (_PLACES_CN[match[2]],)
        return Counted(match[0].rstrip("，,、：:"), ("第" if match[1] else "首", ""), places)
    return None


def _find_number(line: str) -> Counted | None:
    """A number or letter, with the title after it."""
    if not (match := _NUMBERED.match(line)):
        return None
    title = _NUMBER_TITLE.match(line, match.end())
    text = title and line[: title.end()]
    titled = bool(text and is_short(text))
    text = close_bold(line, text) if text and titled else match[0]
    style, value = next((k, v) for k, v in match.groupdict().items() if v)
    sort = "digit" if value.isdigit() else "upper" if value.isupper() else "lower"
    indent = len(line) - len(line.lstrip())
    indent = indent if indent > 2 else 0  # a list in a list stands further in
    # a letter names an option, a number names nothing
    bare = not titled and (value.isdigit() or not value.isascii())
    return Counted(text, (style + sort, str(indent)), _numbers(value), bare)


def _numbers(text: str) -> tuple[int, ...]:
    """Every reading: of digits, a numeral of Rome or China, or a letter."""
    if text.isdecimal():
        return (int(text),)
    if text in _CIRCLED:
        return (_CIRCLED.index(text) + 1,)
    if text[0] in _CN:
        tens, ten, units = text.rpartition("十")
        unit = _CN.index(units) + 1 if units else 0
        return ((_CN.index(tens) + 1 if tens else 1) * 10 + unit if ten else unit,)
    letter = (ord(text[0].lower()) - ord("a") + 1,) if len(text) == 1 else ()
    if not re.fullmatch("[IVX]+|[ivx]+", text):
        return letter
    values = [{"I": 1, "V": 5, "X": 10}[c] for c in text.upper()]
    return (sum(-a if a < b else a for a, b in zip(values, [*values[1:], 0], strict=True)), *letter)
