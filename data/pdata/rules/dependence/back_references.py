"""How a step points at another one: phrases, labels, symbols that it leaves undefined.

Knows one text at a time; whether a block's steps depend on each other is independence.py's.
"""

import re
from collections.abc import Iterator, Sequence

from pdata.rules.blocks.steps import Step
from pdata.rules.prompt import Prompt

# phrases that point at what was said in another step
POINTERS = re.compile(
    r"\b(previous(?:ly)?|preceding|so far|up to here|up to now|until now|as above|from above|"
    r"the above|similarly|likewise|as before|before (?:it|that|this)|the one before|"
    r"the last (?:step|result|one)|earlier|same (?:way|reasoning|argument|method) as|"
    r"carr(?:y|ied) (?:on|over)|(?:result|value|answer|number|total|sum) (?:of|from) (?:step|the "
    r"(?:first|second|last)))\b|at this point|we just|just (?:saw|found|got|said)|"
    r"running (?:total|probability|sum)|by then|what remains|"
    r"同上|同理|上一步|如上|刚才|刚刚|前面(?:说|得到|算)|上面(?:说|得到|算)",
    re.IGNORECASE,
)
# these point back at the start of a step, where nothing of its own can be meant
_TAKES_UP = re.compile(
    r"\b((?:add|subtract|multiply|divide|use|using|with|from|by|to|take|apply) "
    r"(?:this|that|these|those|the (?:result|total|sum|difference|product|answer)))\b",
    re.IGNORECASE,
)
EDGES = " \t\n:：.()*+•–—-"  # around a label or a phrase, no part of it
_START = 40  # characters of a step
# prompts for one thing after the other
_IN_TURN = re.compile(
    r"\b(?:the (?:one|day|step) before|one (?:job|thing|step|task) at a time|walk me through|"
    r"how (?:do|should|can|would|could) (?:i|we|you|one) (?:make|cook|bake|brew|assemble|install|"
    r"build|prepare|fix|repair|replace|sew|knit|fold)|in turn|repeatedly|successively|"
    r"one after (?:another|the other)|in (?:this|that|the following|the given) order|end up with|"
    r"at the end of (?:every|each) \w+|before passing)\b|\bin order[:,]|依次|然后.*然后|"
    r"第1[天年次].*第2[天年次]",
    re.IGNORECASE,
)
_THEN = re.compile(r"(?:,|\band|\.) then\b|\. Then\b")
# a step that opens with one of these follows on the step before it
OPENERS = re.compile(
    r"[\s:：.)*+•–—-]*(then|next|now|also|finally|afterwards|after (?:that|this)|therefore|thus|so|"
    r"hence|consequently|lastly|because of (?:that|this)|once|having|this|these|those|now that|"
    r"with (?:this|that|it|them)|from (?:here|there|this|that|it)|given (?:this|that)|"
    r"using (?:this|that|it|the)|that|such)\b|"
    r"[\s:：.)*+•–—-]*[A-Z]\w+ (?:it|them|this|that|these|those)\b|"
    r"[\s\d:：.、）)*+•–—-]*(?:然后|接着|随后|之后|于是|因此|所以|由此|据此|既然)",
    re.IGNORECASE,
)

SYMBOL = re.compile(r"(?<![\w'’])([A-Za-z](?:_?\d|_[a-z])?|[a-z]{2,}_\w+)(?![\w'’])")
DEFINED = re.compile(rf"{SYMBOL.pattern}\s*(?::?=|≈|←)(?!=)")
TERM = re.compile(r"(?<![\w.])\d+[a-cnp-rt-z]\b")  # 3x


def asks_in_turn(prompt: Prompt) -> bool:
    """Whether a prompt asks for one thing after the other."""
    return bool(_IN_TURN.search(prompt.text)) or len(_THEN.findall(prompt.text)) > 1


def find_pointer(body: str, known: Prompt) -> re.Match[str] | None:
    """A pointing phrase that is not just the prompt's own wording."""
    text = known.text.lower()
    pointers = [*POINTERS.finditer(body), *_TAKES_UP.finditer(body[:_START])]
    return next((m for m in pointers if m[0].lower() not in text), None)


def label_names(step: Step) -> list[str]:
    """What a step may be called in another step, the longest first."""
    text = re.sub(r"^[-*•+\s]+|\*\*|[:：.)\s]+$", "", step.label.text)
    names = {text, step.label.subject, step.label.text}
    return sorted((n for n in names if n), key=len, reverse=True)


def remove_names(body: str, names: Sequence[str]) -> str:
    """`body` without `names` where they stand as whole words."""
    for name in names:
        body = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "", body)
    return body


def find_mentions(body: str, earlier: Step) -> Iterator[str]:
    """The names of an earlier step that `body` says."""
    for name in label_names(earlier):
        if not re.search(r"[^\W\d_]", name) or name in ("a", "I"):
            continue
        # "A" may be the article, any other single letter is a label
        ahead = r"(?!\w|\s+[a-z])" if name == "A" else r"(?!\w)"
        if re.search(rf"(?<!\w){re.escape(name)}{ahead}", body):
            yield name


def find_undefined(body: str) -> set[str]:
    """Symbols that a step uses before it says what they are; not the x of a product, nor words of
    one letter."""
    body = re.sub(r"(?<=[\d)\s])[xX](?=[\s\d($])(?! *=)", "*", body)
    defined, used = {"a", "A", "I"}, set()
    for match in SYMBOL.finditer(body):
        if match[1] not in defined and not DEFINED.match(body, match.start()):
            used.add(match[1])
        defined.add(match[1])
    return used
