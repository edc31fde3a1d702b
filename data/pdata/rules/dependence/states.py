"""State that steps hand on: rounds of a loop, moves of a game, a thing that is changed in place, a
list that grows, a value in brackets or quotes that one step makes and the next one takes.

Knows texts of steps, no blocks.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

_ROUND = re.compile(
    r"\b(?:first|second|third|fourth|last|final|next) "
    r"(?:round|iteration|pass|loop|turn|move|call|operation|swap)\b|"
    r"\b(?:round|iteration|pass|loop|move|turn|call|swap|recursion) \W?\d|\brecursive call|"
    r"第[\d一二三四五六七八九十]+(?:轮|次(?:循环|迭代|操作|移动|调用))",
    re.IGNORECASE,
)
# "For i = 2:", above what is done in that round
_INDEX = re.compile(r"(?<![\w`])`?(?:i|j|k|idx|index|num|char|ch)`? ?= ?['\"`]?\w+['\"`]?[^\w\n]*$")
# "`i = 2` → append 4": such a round as an item
_INDEXED = re.compile(
    r"[\s\d.)*•-]*(?:[Ff]or |[Ww]hen )?`?(?:i|j|idx|index|num|char|ch)`? ?= ?['\"`]?-?\w+"
)
_DOES = re.compile(
    r"\b(?:append|add|push|pop|insert|remove|update|increment|print|swap|becomes?|result|total|"
    r"res|count|sum)|→",
    re.IGNORECASE,
)
# "The last character is removed": of what the step before has left
_LOSES = re.compile(
    r"[\s\d.)*•-]*the (?:first|last|next|leading|trailing|remaining|two|extra) "
    r"(?:character|letter|element|item|digit|entry|value|space|word|line)s? "
    r"(?:is|are|gets?) \w+ed\b",
    re.IGNORECASE,
)
# what the first of them starts from
_BEGINS = re.compile(
    r"[\s\d.)*(-]*(?:initially\b|(?:start|begin)(?:ing)? with (?:the|our) |"
    r"at the (?:start|beginning)\b|"
    # a variable of code
    r"(?:the )?(?:\w+ )?`\w+` (?:starts|begins|is initiali[sz]ed|is set|初始)|"
    r"start(?:ing (?:point|position|value|state))?\W*:|"
    r"initial (?:value|state|list|array|string|amount|position|balance|number|drop|step)\b|"
    r"最初|初始|(?:变量|列表|数组|字符串)? ?`?\w+`? ?被?初始化)",
    re.IGNORECASE,
)
# "List before pop: …", "List after pop: …"
_BEFORE = re.compile(r"[\s\d.)*•-]*(?:\w+ )?before\b[^:.\n]*:", re.IGNORECASE)
_AFTER = re.compile(r"[\s\d.)*•-]*(?:\w+ )?after\b[^:.\n]*:", re.IGNORECASE)
# what code does at the end of a round
_CALLS = re.compile(
    r"[\s\d.)*•-]*(?:(?:the )?recursive(?:ly)? call|it calls itself|递归调用|"
    r"(?:the )?(?:function|code|method|loop) (?:then )?(?:returns|ends|exits|continues|repeats)\b)",
    re.IGNORECASE,
)
# operations on one thing: enqueue(4), s.pop()
_OPERATES = re.compile(
    r"[\W\d_]*(?:\w+\.)?(?:push|pop|enqueue|dequeue|insert|append|add|remove|delete|put|get|peek|"
    r"update|extend|reverse|sort|clear)\(([^()\n]*)\)|[\W\d_]*((?:入|出|进|退|压)[队栈])",
    re.IGNORECASE,
)
# how things stand after one day, and after the next one
_LATER = re.compile(
    r"[\W\d_]*(?:after|at the end of) (?:the )?"
    r"(?:(?:first|second|third|fourth|fifth|sixth|last|next|\d{1,2}(?:st|nd|rd|th)?) "
    r"(?:day|week|month|year|hour|minute|second|stop|move|step)s?|"
    r"(?:day|week|month|year|hour|minute|stop|move|step) \d)\b|"
    r"[\W\d_]*第[\d一二三四五六七八九十]+(?:天|周|个?月|年|小时|分钟|站|步)(?:之?后|末|结束)",
    re.IGNORECASE,
)
# slots of one time line: "0-10 ms:", "At t = 3,"; what is on in one of them goes on in the next
_SPAN = re.compile(
    r"[\s\d.)、*•-]*?(?:(?:time|from|t ?=|时间|从) ?)?(\d{1,3}) ?(?:ms|s|秒|毫秒)?"
    r" ?(?:-|–|—|~|～|to|至|到) ?(\d{1,3})(?![\d:/%])"
    r"(?!\s*(?:years?|months?|weeks?|days?|ages?|岁|年|个?月|周|天))",
    re.IGNORECASE,
)
_TICK = re.compile(
    r"[\s\d.)、*•-]*(?:(?:at )?(?:t ?= ?|time(?: unit| step)? ?=? ?)\d|"
    r"(?:第 ?\d+ ?(?:毫?秒|分钟|个?时刻|个?时钟周期)|时刻 ?\d))",
    re.IGNORECASE,
)
_GOES_ON = re.compile(
    r"\b(?:still|continu(?:es?|ing)|keeps?|resum(?:es?|ing)|finish(?:es|ed)?|complet(?:es|ed)|"
    r"takes? over|preempt(?:s|ed)?|(?:is|are) (?:now )?(?:done|idle)|waiting|leaves?|remains?)\b|"
    r"继续|还在|仍|接手|接着|完成|结束|恢复|空闲|抢占|等待",
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
    r"(?:becomes?|goes (?:from|up|down)|is now|remains|stays|changes to|is updated|"
    r"now (?:has|holds|contains|is))\b",
    re.IGNORECASE,
)
_VARIABLE = re.compile(r"`([a-z_]\w*)(?:\[[^`]*\])?(?: = [^`]*)?`")
_ALTERS = re.compile(
    r"`([a-z_]\w*)` (?:becomes|is now|is (?:updated|incremented|set to|changed|emptied|reversed|"
    r"cleared|sorted))|(?:deleted|removed|popped) from `([a-z_]\w*)`|"
    r"(?:added|appended|inserted|assigned) (?:to|into) `([a-z_]\w*)`"
)
# what a step before has made of it
_CHANGED = re.compile(
    rf"\bthe (?:now )?(?:updated|modified|changed|shortened|emptied|reversed) (?:{_THINGS})\b",
    re.IGNORECASE,
)
# "Join the processed lines": what a step opens with is the work of one before it
_OUTCOME = re.compile(
    r"[\W\d_]*[A-Z][a-z]+ (?:\w+ ){0,2}?(?:the|these|all|all the) "
    r"((?:processed|modified|transformed|converted|expanded|filtered|sorted|reversed|cleaned|"
    r"encoded|decoded|formatted|extracted|collected|computed|calculated|generated|trimmed|"
    r"replaced|mapped|translated|split|stripped|merged|updated|rearranged) "
    rf"(?:{_THINGS}|word|line|character|letter|element|item|part|substring|token|pair|key|row|"
    r"column|data|record|entr(?:y|ie)|digit)s?)\b|"
    r"[\W\d_]*(?:将|把|对|用|返回|输出|打印|合并|连接|拼接)[^，。：:\n]{0,6}"
    r"((?:处理|修改|转换|替换|排序|过滤|筛选|拆分|分割|更新|反转|提取)[后好过]的[一-鿿]{2})",
)
# moves of a game, after which things stand otherwise
_SWAPS = re.compile(
    r"\b(?:swap(?:s|ped)?|exchange[sd]?|trade[sd]?|switch(?:es|ed)?) (?:\w+ )?(?:balls|books|gifts|"
    r"presents|partners|places|positions|seats|with|it|them|elements|values)\b|"
    r"\bturns? (?:left|right|around)\b|交换|互换|左转|右转|掉头",
    re.IGNORECASE,
)
_COUNT = re.compile(
    r"\b(?:count(?:er)?|total)`? (?:=|is(?: now)?|becomes|→|to) `?(\d{1,4})\b", re.IGNORECASE
)
_LIST = re.compile(r"\[[^\[\]\n]{1,200}\]")
_QUOTED = re.compile(r"['\"]([^'\"\n]{1,80})['\"]")
_LITERAL = r"(\[[^\[\]\n]{2,200}\]|'[^'\n]{2,80}'|\"[^\"\n]{2,80}\")"
_ASSIGNS = re.compile(rf"=\s*{_LITERAL}")  # in code that is about the same example
_MAKES = re.compile(
    rf"(?:=|→|->|\b(?:is|gives?|gets?|becomes?|returns?|yields?|produces?|leaves?|leaving|"
    rf"results? in|resulting in|results? is|to get|giving|list))\s*:?\s*"
    rf"(?:(?:the|an?) (?:\w+ )?(?:{_THINGS}) )?`?{_LITERAL}"
)


def find_state(texts: Sequence[str], prompt: str, lead: str) -> str | None:
    """What the steps hand on."""
    half = len(texts) / 2
    if sum(bool(_ROUND.search(text[:_START])) for text in texts) > half:
        return "its steps are rounds"
    above = lead.strip().rsplit("\n", 1)[-1][: 2 * _START]
    if _ROUND.search(above) or _INDEX.search(above):
        return "its steps are those of a round"
    if all(map(is_round, texts)):
        return "its steps are rounds"
    if any(map(_LOSES.match, texts[1:])) and not _LOSES.match(texts[0]):
        return "its steps change the same thing"
    if _BEGINS.match(texts[0]):
        return "its steps start from a first state"
    if any(map(_BEFORE.match, texts)) and any(map(_AFTER.match, texts)):
        return "its steps tell a change"
    if any(map(_CALLS.match, texts[1:])):
        return "its steps are those of a call"
    operations = [match for text in texts if (match := _OPERATES.match(text))]
    if len(operations) == len(texts) and sum(bool(m[1] or m[2]) for m in operations) > 1:
        return "its steps change the same thing"
    if sum(bool(_LATER.match(text)) for text in texts) > half:
        return "its steps are one time line"
    if sum(bool(_SWAPS.search(text)) for text in texts) > half:
        return "its steps are moves"
    if _shares([{m[1].lower() for m in _BECOMES.finditer(text)} for text in texts]):
        return "its steps change the same thing"
    if any(map(_CHANGED.search, texts[1:])) and not _CHANGED.search(texts[0]):
        return "its steps change the same thing"
    if any((m := _OUTCOME.match(text)) and _new(m, prompt) for text in texts[1:]):
        return "its steps change the same thing"
    if _is_time_line(texts):
        return "its steps are one time line"
    changed = [{a or b or c for a, b, c in _ALTERS.findall(text)} for text in texts]
    if any(changed) and _touches([set(_VARIABLE.findall(text)) for text in texts], changed):
        return "its steps change the same thing"
    if _counts_up([_COUNT.search(text) for text in texts]):
        return "its steps count"
    known = f"{prompt}\n{lead}"
    return "its steps take up values of earlier ones" if _hands_on(texts, known) else None


def is_round(text: str) -> bool:
    """Whether a step tells what a round of a loop does."""
    return bool(_INDEXED.match(text) and _DOES.search(text))


def _new(outcome: re.Match[str], prompt: str) -> bool:
    """Whether the prompt does not have the thing that a step takes as worked on."""
    return (outcome[1] or outcome[2]).lower() not in prompt.lower()


def _is_time_line(texts: Sequence[str]) -> bool:
    """Whether steps are slots of time, one behind the other, over which something goes on."""
    spans = [(int(m[1]), int(m[2])) for text in texts if (m := _SPAN.match(text))]
    joined = len(spans) == len(texts) and all(a[1] == b[0] for a, b in pairwise(spans))
    if len(texts) < 3 or not (joined or all(map(_TICK.match, texts))):
        return False
    return any(map(_GOES_ON.search, texts[1:]))


def _counts_up(counts: Sequence[re.Match[str] | None]) -> bool:
    """Whether a count goes up by one, three times at least."""
    values = [int(match[1]) for match in counts if match]
    return len(values) > 2 and all(b == a + 1 for a, b in pairwise(values))


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
    """Whether a list or a text in quotes grows from step to step, or a step takes a value that an
    earlier one makes."""
    lists: set[str] = set()
    made: set[str] = set()
    lengths = [len(found[-1].split(",")) for text in texts if (found := _LIST.findall(text))]
    if len(lengths) > 2 and {b - a for a, b in pairwise(lengths)} in ({1}, {-1}):
        return True
    quoted = [found[-1] for text in texts if (found := _QUOTED.findall(text))]
    if len(quoted) == len(texts) > 2 and all(a in b and a != b for a, b in pairwise(quoted)):
        return True
    for text in texts:
        here = set(_LIST.findall(text))
        if any(new.startswith(f"{old[:-1]}, ") for new in here for old in lists):
            return True
        makes = set(_MAKES.findall(text))
        if any(value in text for value in made - set(_ASSIGNS.findall(text))):
            return True
        lists |= here
        made |= {value for value in makes if value not in known}
    return False
