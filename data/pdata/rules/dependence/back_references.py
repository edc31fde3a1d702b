"""How a step points at another one: phrases and numbers.

Knows one text at a time; whether a block's steps depend on each other is independence.py's.
"""

import re
from collections.abc import Collection

from pdata.rules.prompt import Prompt

# phrases that point at what was said in another step
POINTERS = re.compile(
    r"\b(?=[a-z])(previous(?:ly)?|preceding|so far|up to here|up to now|until now|as above|"
    r"from above|(?:the )?(?:aforementioned|above-?mentioned)|mentioned (?:above|earlier)|"
    r"(?<!all of )(?<!none of )(?<!any of )the above|similarly|likewise|as before|"
    r"analogously|(?:by|with|using) (?:the same|a similar|an analogous|a like) "
    r"(?:argument|reasoning|logic|token)|"
    r"before (?:it|that|this)|the one before|the last (?:step|result|one)|earlier|"
    r"same (?:way|reasoning|argument|method) as|carr(?:y|ied) (?:on|over)|"
    r"(?:result|value|answer|number|total|sum) (?:of|from) (?:step|the (?:first|second|last))|"
    r"at this point|we just|just (?:saw|seen|found|got|said|given|described|shown|proved)|"
    r"running (?:total|probability|sum)|by then|"
    r"intermediate (?:result|value|string|list)|what remains|"
    r"in an? (?:\w+ )?(?:similar|analogous) (?:fashion|manner|way)(?! (?:to|as)\b)|"
    r"along the same lines(?! as\b)|the same (?:idea|trick|argument|reasoning|computation) "
    r"(?:works|applies|holds|gives|shows)|(?:as|than|like|from) the (?:first|second|third) one|"
    r"(?:half|third|quarter) of the (?:remaining|rest)|"
    r"(?:noted|found|chosen|listed|created) in the first (?:step|option|point|part)|"
    # a verdict or a look that an earlier one comes before
    r"also (?:not )?(?:correct|incorrect|true|false|valid|invalid|wrong|right|possible|impossible|"
    r"ruled out)|which again|(?:(?<=[.;:!?]\s)|(?<=\n)|(?<=\n\s))(?:once )?again|"
    # what an earlier one has found
    r"we already (?:know|have|found|saw|proved|showed|computed|calculated|determined)|"
    r"as we(?: have|['’]ve)? (?:already )?(?:saw|seen|found|showed|shown|proved|proven|"
    r"computed|calculated|derived|established)(?! (?:with|during|from|over|in)\b)|"
    r"we (?:found|saw|showed|proved|computed) (?:earlier|above|before|in (?:part|step|\(?[1a]\)))|"
    r"already (?:counted|covered|computed|calculated|found|shown|proved|proven|checked)|"
    r"(?:both|neither) \(?[a-h]\)? (?:and|n?or) \(?[a-h])\b|"
    r"(?=[一-鿿])(?:同上|同理|类似地|如前所述|[把将对从]剩下的|(?:由|从|据)上[问题]|上一[问题](?!题)|我们已经?(?:知道|了解)|上一步|如上|刚才|刚刚|前面(?:说|得到|算)|上面(?:说|得到|算)|"
    r"(?<=[项法A-H①-⑨])也(?:是|不|可以)?(?:正确|错误|对的|错的|排除|符合|成立)|也可以排除|"
    r"已经?(?:证明|求出|求得|算出|证得|得到)了?)",
    re.IGNORECASE,
)
# these point back at the start of a step, where nothing of its own can be meant
_TAKES_UP = re.compile(
    r"\b((?:add|subtract|multiply|divide|use|using|take|apply) "
    r"(?:this|that|these|those|the (?:result|total|sum|difference|product|answer))|"
    r"(?:with|from|by|to) "
    r"(?:this|these|those|the (?:result|total|sum|difference|product|answer)))\b|"
    # "the solution to that" is of what the step itself has just said
    r"^[\W\d]*(?:with|from|by|to) that\b",
    re.IGNORECASE,
)
# the work of another step with things the other way round, as what a step opens with
_TURNED = re.compile(
    r"^[\W\d]*(?:(?:by (?:the )?(?:same )?symmetry|symmetrically|(?:by )?(?:swapping|switching|"
    r"interchanging|reversing|exchanging) (?:the )?(?:\w+ )?(?:roles?|places)|in the same way)\b|"
    r"同样地|由对称性|根据对称性|[与和][上前](?:面|一)[^，。\n]{0,6}(?:类似|相同))",
    re.IGNORECASE,
)
_SINCE = re.compile(r"\s+from (?:the |a )?(?:previous|last|prior|preceding) [a-z]+", re.IGNORECASE)
_TIME = re.compile(
    r"\s+(?:years?|months?|quarters?|seasons?|decades?|centur|generations?|owners?)", re.I
)
_LIKEWISE = ("similarly", "likewise", "so far", "until now", "up to now", "同理")
_JUST_NOW = ("刚才", "刚刚")
_ADJECTIVES = ("previous", "preceding", "earlier", "the above")
_KNOWN = 8  # characters of what is known already
EDGES = " \t\n:：.()*+•–—-"  # around a label or a phrase, no part of it
_START = 40  # characters of a step
# prompts for one thing after the other
_IN_TURN = re.compile(
    r"\b(?:the (?:one|day|step) before|one (?:job|thing|step|task) at a time|walk me through|"
    r"in turn|follow(?:ing)? (?:these|the) instructions|repeatedly|successively|"
    r"one after (?:another|the other)|in (?:this|that|the following|the given) order|end up with|"
    r"at the end of (?:every|each) \w+|before passing)\b|\bin order[:,]|依次|然后.*然后|"
    r"第1[天年次].*第2[天年次]",
    re.IGNORECASE,
)
_THEN = re.compile(r"(?:,|\band|\.) then\b|\. Then\b")
_CONDITION = re.compile(
    r"\b(?:if|when(?:ever)?|given|suppose|assum(?:e|ing)|let|since)\b", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"[.;!?\n]")
# "If they still do not answer": what the step before has tried did not help
_FAILS = (
    r"(?:(?:and |but )?(?:if|when|where|should) (?:that|this|it|these|those|which|nothing|none of "
    r"(?:this|these|that|them)|all of this|(?:(?:the|your|their|his|her) )?(?:\w+ )?(?:problem|"
    r"issue|error|symptom|pain|reminder|attempt|talk|conversation)s?) (?:still |also )?"
    r"(?:(?:does|do|did|is|are|was|were|has|have)(?: not|n['’]t) (?!\w+ (?:to|that)\b)|fails?\b|"
    r"persists?\b|remains?\b|continues?\b)|failing (?:that|this)\b|"
    r"if (?:he|she|they|the other \w+) (?:(?:\w+ )?still|continues? to|keeps?\b|persists?)\b|"
    r"if all else fails)"
)
_FAILS_CN = (
    r"(?:如果|若|要是|假如|倘若)[^，。：:\n]{0,8}(?:仍然?|还是|依然|依旧|还没|还不)|"
    r"(?:如果|若|要是)(?:这样|这|以上|上述)[^，。：:\n]{0,8}(?:不行|无效|没用|没有|不能|不起|无法)"
)
# a step that opens with one of these follows on the step before it
OPENERS = re.compile(
    r"[\s:：.)*+•–—-]*(then|next(?! to)|(?:\w+ ){1,3}then|now|also|however|but|otherwise|instead|"
    r"finally|afterwards|after (?:that|this|\w+ing)|therefore|thus|so|hence|consequently|"
    r"accordingly|as a (?:result|consequence)|lastly|if (?:so|not|yes|no)\b|"
    r"if (?:\w+ ){1,4}still|since(?! then)|combin(?:e|ing)|"
    r"(?:adding|subtracting|substituting|simplifying|plugging|equating|solving|rearranging)|"
    r"the (?:final|next|resulting|remaining) \w+|all (?:of )?(?:the )?others?\b|"
    r"the (?:rest|others)\b|what(?: is|['’]s| was) left\b|of the \w+(?=,)|"
    r"every(?:thing|one) else|because of (?:that|this)|once|having|in other words|put simply|"
    r"this|these|those|now that|with (?:this|that|it|them)|from (?:here|there|this|that|it)|"
    r"given (?:this|that)|using (?:this|that|it|the)|that|such)\b|"
    r"[\s:：.)*+•–—-]*(?!While|When|If|As|Since|Is|Are|Was|Ensure|Make)"
    r"[A-Z]\w+ (?:it|them|this|these|those|that(?=\s*[.,;]))\b|"
    r"[\s:：.)*+•–—-]*the (?:roots|solutions?) (?:is|are)\b|"
    r",\s(?:the (?:rest|others|remaining)|all (?:the )?others?)\b|"
    rf"[\s:：.)*+•–—-]*(?:\w+, )?{_FAILS}|"
    rf"[\s\d:：.、）)*+•–—-]*(?:(?:第[一二三四五]|其次|再次|最后)[，,])?"
    rf"(?:{_FAILS_CN})|"
    r"(?:[-•*\d.)]+ )?(?:\w+ ){1,5}(?:is|are) then [a-z]+ed\b|"
    r"[\s\d:：.、）)*+•–—-]*(?:【\w{1,4}】\s*)?"
    r"(?:然后|接着|接下来|随后|之后|于是|因此|所以|由此|据此|既然|现在|综合以上|综上|其余|换句话说|换言之|"
    r"[将从由][^，。：:\n]{1,30}(?:代入(?:公式|上式|该式|上述)|(?:归结|推|得|导)出|"
    r"(?:可|推|得)[得知到]))",
    re.IGNORECASE,
)
# of these, the ones that may stand under a title of a step's own; "This", there, is the title
CONCLUDES = re.compile(
    r"[\s:：.)*+•–—-]*(?:then|therefore|thus|hence|consequently|accordingly|once|now that|"
    r"having (?:\w+ed|done|found|seen|got|shown|made|set|built|taken)|"
    r"next|as a (?:result|consequence)|after (?:that|this)|combin(?:e|ing)|"
    r"also(?! (?:known|called|spelled|referred|named))|"
    r"with (?:this|that|these|those)|using (?:this|that|the)|given (?:this|that)|"
    r"based on (?:this|that|these|those|the|my|your))\b|"
    rf"[\s:：.)*+•–—-]*{_FAILS}|[\s:：.)*+•–—-]*(?:{_FAILS_CN})|"
    r"[\s:：.、）)*+•–—-]*(?:因此|所以|于是|由此|据此|然后|接着|接下来|随后|其[他它][^，。\n]{1,20}还有)",
    re.IGNORECASE,
)
# what a survey may say of its own subject: "previous emperors", "earlier works"
AMONG_STEPS = re.compile(
    r"\s+(?:steps?|sections?|points?|examples?|cases?|parts?|results?|ones?|answers?|questions?|"
    r"paragraphs?|methods?|items?|options?|outputs?|calculations?|equations?|sentences?|"
    r"functions?)\b",
    re.IGNORECASE,
)

_CUE = (
    r"(?:\b(?:from|by|in|of|using|see|combining|and|with|to|since|under|via|apply(?:ing)?)\s*|"
    r"(?:[由从据照按合和与及用将把在因]|因为|由于)\s*)"
)
_CN = "一二三四五六七八九十"
# "from (1)", "in step 2", "part (b)", 由(1), 第一问
_REFERENCE = re.compile(
    rf"{_CUE}[(（\[](\d{{1,2}}|[a-h]|[ivIV]{{1,3}}|[{_CN}])[)）\]]|"
    # the label of a sub-case has no cue
    rf"{_CUE}(?:case|[情][况形])\s*[(（]?(\d{{1,2}}|[a-h]\b|[{_CN}])[)）]?(?!\d)|"
    r"\b(?:from|by|given|using|combining|since) (\d{1,2})\) and \d{1,2}\)|"
    r"[(（](\d{1,2})[)）] (?:থেকে|অনুসারে|অনুযায়ী|হতে)|ধাপ (\d{1,2})|"
    r"\b(?:steps?|points?|parts?|equations?|eqs?\.|items?|rules?|statements?|tips?|lines?|no\.|"
    r"observations?|facts?|premises?|claims?) "
    rf"(?:no\. ?|number )?\(?(\d{{1,2}}|[a-h]\b(?! \w))\)?|"
    rf"第\s*[(（]?(\d{{1,2}}|[{_CN}])[)）]?(?:步|问|小题|点)|步骤\s*(\d{{1,2}}|[{_CN}])",
    re.IGNORECASE,
)
_STEP = re.compile(r"step|[步问]", re.IGNORECASE)
_CIRCLED = re.compile(rf"(?:{_CUE}|入|立)([①-⑳])")


def asks_in_turn(prompt: Prompt) -> bool:
    """Whether a prompt asks for one thing after the other."""
    text = prompt.text
    return (
        bool(_IN_TURN.search(text))
        or sum(_goes_on(text, m.start()) for m in _THEN.finditer(text)) > 1
    )


def _goes_on(text: str, at: int) -> bool:
    """Whether the "then" at a place goes on from something; that of "if ..., then ..." does not."""
    if text[at] == ".":
        return True
    start = max((m.end() for m in _SENTENCE_END.finditer(text, max(at - 300, 0), at)), default=0)
    return not _CONDITION.search(text, start, at)


def find_pointer(body: str, known: Prompt) -> re.Match[str] | None:
    """A pointing phrase that is not just the prompt's own wording."""
    start = body[:_START]
    pointers = [*POINTERS.finditer(body), *_TAKES_UP.finditer(start), *_TURNED.finditer(start)]
    return next((m for m in pointers if _points(body, m) and not _given(body, m, known)), None)


def _given(body: str, pointer: re.Match[str], known: Prompt) -> bool:
    """Whether the prompt says the same, or has what "we already know"."""
    if pointer[0].lower().endswith(("know", "知道")):
        what = re.sub(r"^[\W_]*(?:that )?\W*", "", body[pointer.end() :])
        return what[:_KNOWN].lower() in known.lower
    return known.says(_phrase(body, pointer))


def _points(body: str, pointer: re.Match[str]) -> bool:
    """Whether a phrase points at another step: "the previous line", but not "previous owners"."""
    word = pointer[0].lower()
    if word.startswith("also"):  # the second verdict of one step
        return not re.search(rf"\b{word.split()[-1]}\b", body[: pointer.start()], re.IGNORECASE)
    if word.startswith("carr") and _SINCE.match(body, pointer.end()):
        return False
    if word not in ("previous", "preceding", "earlier"):
        return True
    if _TIME.match(body, pointer.end()):
        return False
    ahead = body[max(pointer.start() - 5, 0) : pointer.start()].lower().split()
    if pointer[0].lower() == "earlier":
        return AMONG_STEPS.match(body, pointer.end()) is not None or not re.match(
            r"\s+\w+", body[pointer.end() :]
        )
    return AMONG_STEPS.match(body, pointer.end()) is not None or ahead[-1:] in (["the"], ["this"])


def find_pointer_in_survey(body: str, known: Prompt) -> re.Match[str] | None:
    """The same in a step with a title of its own, which may speak of earlier times and likewise of
    what it has just said itself."""
    turned = _TURNED.match(body)
    for match in (*POINTERS.finditer(body), *((turned,) if turned else ())):
        word = match[0].lower()
        if word == "the above" and not re.match(r"\s+\w", body[match.end() :]):
            return match
        if word in _ADJECTIVES or word == "previously":
            if not AMONG_STEPS.match(body, match.end()) or known.says(_phrase(body, match)):
                continue
        elif (word in _LIKEWISE or word.startswith("in a")) and re.search(
            r"\w", body[: match.start()]
        ):
            continue
        elif (
            not _points(body, match)
            or known.says(word)
            or _given(body, match, known)
            or (word in _JUST_NOW and _phrase(body, match) in known.text)
        ):
            continue
        return match
    return None


def _phrase(body: str, pointer: re.Match[str]) -> str:
    """A pointer with what it points at: "previous case", not "previous" alone."""
    if pointer[0] in _JUST_NOW:
        noun = re.match(r"的([一-鿿]{2})", body[pointer.end() :])
        return noun[1] if noun else pointer[0]
    if pointer[0].lower() not in _ADJECTIVES:
        return pointer[0]
    noun = re.match(r"\s+[\w'-]+", body[pointer.end() :])
    return pointer[0] + noun[0] if noun else pointer[0]


def find_reference(body: str, counts: Collection[str], before: str, known: str) -> str | None:
    """A reference to an earlier step by its number; `counts`: those of the earlier steps, `before`:
    their text, `known`: that of the prompt and the lead."""
    for match in _REFERENCE.finditer(body):
        number = next(g for g in match.groups() if g).lower()
        number = str(_CN.index(number) + 1) if number in _CN and number not in counts else number
        number = str(int(number)) if number.isdecimal() else number
        if number in counts and f"tag{{{number}}}" not in known:
            if match[1] or _STEP.search(match[0]) or match[0].lower() not in known.lower():
                return match[0]
    circled = (m for m in _CIRCLED.finditer(body) if m[1] not in known + body[: m.start(1)])
    return next((m[0] for m in circled if m[1] in before), None)
