"""State that steps hand on: rounds of a loop, moves of a game, a thing that is changed in place, a
list that grows, a value in brackets or quotes that one step makes and the next one takes.

Knows texts of steps, no blocks.
"""

import re
from collections.abc import Sequence

_ROUND = re.compile(
    r"\b(?:first|second|third|fourth|last|final|next) "
    r"(?:round|iteration|pass|loop|turn|move|call|operation|swap)\b|"
    r"\b(?:round|iteration|pass|loop|move|turn|call|swap|recursion) \W?\d|\brecursive call|"
    r"第[\d一二三四五六七八九十]+(?:轮|次(?:循环|迭代|操作|移动|调用))",
    re.IGNORECASE,
)
# what the first of them starts from
_BEGINS = re.compile(
    r"[\s\d.)*(-]*(?:initially\b|at the (?:start|beginning)\b|"
    r"initial (?:value|state|list|array|string|amount|position|balance|number|drop|step)\b|"
    r"最初|初始)",
    re.IGNORECASE,
)
_START = 40  # characters, in which a step names its round
_THINGS = (
    "array|list|string|dict(?:ionary)?|stack|queue|set|number|value|total|balance|counter|text|"
    "result|sum|remainder"
)
# "the array becomes", "`d` is now"
_BECOMES = re.compile(
    rf"(`[^`\n]{{1,30}}`|\b(?:{_THINGS}))(?:\s+`[^`\n]{{1,30}}`)?,? (?:now |then )?"
    r"(?:becomes?|is now|remains|stays|changes to|is updated|now (?:has|holds|contains|is))\b",
    re.IGNORECASE,
)
_VARIABLE = re.compile(r"`([a-z_]\w*)(?:\[[^`]*\])?(?: = [^`]*)?`")
_ALTERS = re.compile(
    r"`([a-z_]\w*)` (?:becomes|is now|is (?:updated|incremented|set to|changed|emptied|reversed|"
    r"cleared|sorted))|(?:deleted|removed|popped) from `([a-z_]\w*)`|"
    r"(?:added|appended|inserted|assigned) (?:to|into) `([a-z_]\w*)`"
)
# moves of a game, after which things stand otherwise
_SWAPS = re.compile(
    r"\b(?:swap(?:s|ped)?|exchange[sd]?|trade[sd]?|switch(?:es|ed)?) (?:\w+ )?(?:balls|books|gifts|"
    r"presents|partners|places|positions|seats|with|it|them|elements|values)\b|"
    r"\bturns? (?:left|right|around)\b|交换|互换|左转|右转|掉头",
    re.IGNORECASE,
)
_LIST = re.compile(r"\[[^\[\]\n]{1,200}\]")
_LITERAL = r"(\[[^\[\]\n]{2,200}\]|'[^'\n]{2,80}'|\"[^\"\n]{2,80}\")"
_MAKES = re.compile(
    rf"(?:=|→|->|\b(?:is|gives?|gets?|becomes?|returns?|yields?|produces?|leaves?|leaving|"
    rf"results? in|resulting in|results? is|to get|giving|list))\s*:?\s*`?{_LITERAL}"
)


def find_state(texts: Sequence[str], known: str) -> str | None:
    """What the steps hand on; `known`: the text of the prompt and the lead."""
    half = len(texts) / 2
    if sum(bool(_ROUND.search(text[:_START])) for text in texts) > half:
        return "its steps are rounds"
    if _BEGINS.match(texts[0]):
        return "its steps start from a first state"
    if sum(bool(_SWAPS.search(text)) for text in texts) > half:
        return "its steps are moves"
    if _shares([{m[1].lower() for m in _BECOMES.finditer(text)} for text in texts]):
        return "its steps change the same thing"
    changed = [{a or b or c for a, b, c in _ALTERS.findall(text)} for text in texts]
    if any(changed) and _touches([set(_VARIABLE.findall(text)) for text in texts], changed):
        return "its steps change the same thing"
    return "its steps take up values of earlier ones" if _hands_on(texts, known) else None


def _shares(changed: Sequence[set[str]]) -> bool:
    """Whether two steps change the same thing."""
    return any(a & b for i, a in enumerate(changed) for b in changed[i + 1 :])


def _touches(named: Sequence[set[str]], changed: Sequence[set[str]]) -> bool:
    """Whether a step changes a variable that another step names."""
    return any(
        names & changes
        for i, changes in enumerate(changed)
        for j, names in enumerate(named)
        if i != j
    )


def _hands_on(texts: Sequence[str], known: str) -> bool:
    """Whether a list grows from step to step, or a step takes a value that an earlier one makes."""
    lists: set[str] = set()
    made: set[str] = set()
    for text in texts:
        here = set(_LIST.findall(text))
        if any(new.startswith(f"{old[:-1]}, ") for new in here for old in lists):
            return True
        if any(value in text for value in made):
            return True
        lists |= here
        made |= {value for value in _MAKES.findall(text) if value not in known}
    return False
