"""What says that a text concludes, gives the answer or turns back, in its own words."""

import re

# what opens the paragraph after the last step
_CONCLUDES = re.compile(
    r"[*_#\s]*(?:in (?:summary|conclusion|short|total|the end|all)\b|"
    r"to (?:sum up|conclude|summari[sz]e)|"
    r"overall|altogether|therefore|thus|hence|consequently|as a result|ultimately|so\b|finally|"
    r"remember|by (?:following|doing|using|taking|implementing|understanding|incorporating)\b|"
    r"(?:all )?(?:of )?(?:these|with these) |understanding these|i hope|let me know|feel free|"
    r"in (?:both|either|each|any) (?:of )?(?:\w+ )?cases?|"
    r"from (?:the|these|all|both) (?:\w+ )?cases|please note|note that|"
    r"the (?:final |correct )?answer\b|now,? |combining|adding|"
    r"综上|总之|总的来说|总体|综合|因此|所以|故|最终|结论|希望|以上|这些|需要注意|请注意|无论|当然|"
    r"通过(?:以上|上述|这些)|基于(?:以上|上述)|根据(?:以上|上述)|从(?:以上|上述)|由此|答案|答[:：]|"
    r"[一-鿿]{0,4}(?:结语|结束语)[:：])",
    re.IGNORECASE,
)
# what numbers a title: 5. V. (c) 五、
_NUMBER = r"[-*_#\s\d.、()（）]*(?:(?:[IVX]{1,5}|[A-Z]|[一二三四五六七八九十]{1,3})[.)、．）]\s*)?"
_TOGETHER = (
    r"(?:putting|bringing|tying) (?:it|everything) (?:all )?together|"
    r"将?(?:所有|全部)[一-鿿]{0,4}(?:整合|结合)"
)
# a title of what is drawn from all steps
_SUMS_UP = re.compile(
    rf"{_NUMBER}(?:综合(?:分析|结论|建议|评估|评价|报告|实施|发展|对比|考量|优化|策略|总结|应用|方案)|"
    r"总结|结论|整合|最终(?!的)|总体|横向对比|协同|(?:conclusion|summary|overall|comparison|synthesis|"
    r"recommendation|final(?!ly))\w*\b|"
    rf"{_TOGETHER})",
    re.IGNORECASE,
)
# a line that is the title of a conclusion and nothing else: V. Conclusion, 五、总结与展望
_CLOSING_TITLE = re.compile(
    rf"{_NUMBER}[*_]*(?:(?:in )?(?:conclusions?|summary|closing|concluding remarks|final thoughts)"
    r"(?: (?:and|&) [\w ]{1,30})?|(?:全文|本文|文章|课程)?(?:总结|小结|结论|结语|结束语|尾声)"
    r"(?:[与和及][一-鿿]{2,4})?)[\s*_:：.。]*$",
    re.IGNORECASE,
)
# what stands behind the conclusion of a page
_BACK_MATTER = re.compile(
    rf"{_NUMBER}[*_]*(?:references|bibliography|sources|further reading|appendi|acknowledg|faq|"
    r"参考|附录|致谢|延伸阅读)",
    re.IGNORECASE,
)
# the first words of a step that sums up the others, or follows from them
_SUMMARY = re.compile(
    r"[*_#\s]*(?:in (?:summary|conclusion|short|total)\b|to (?:sum up|conclude|summari[sz]e)|"
    rf"overall|altogether\b|{_TOGETHER}|综上|总之|总的来说|总体(?!的)|综合(?!的)|结论|"
    r"通过(?:以上|上述)|基于(?:以上|上述)|根据(?:以上|上述)|从(?:以上|上述))",
    re.IGNORECASE,
)
_FOLLOWS = re.compile(
    r"[*_#\s]*(?:(?:therefore|thus|hence|so|finally|consequently)\b|因此|所以|由此|最终(?!的))",
    re.IGNORECASE,
)
# a sentence that says what the answer is
_ANSWERS = re.compile(
    r"\b(?:so|therefore|thus|hence|consequently)\b(?!.*(?:n['’]t|\bnot)\b).*"
    r"\b(?:answer|option|choice|correct)\b|"
    r"\b(?:the|our|my|final|correct|best|right) (?:final |correct |right |best )?"
    r"(?:answer|choice|option)\b.*\b(?:is|would be|must be|becomes)\b|\\boxed|"
    r"^\W*(?:final |correct )?answer\b|^\W*####|[.!?。]\s+(?:final |correct )?answer\s*[:：]|"
    r"(?:^|[.!?]\s+|[。！？\n])(?:综上|综合(?:以上|上述)|in conclusion,|in summary,|to sum up,)|"
    r"正确答案|答案(?:应?[是为选]|[:：])|故(?:选|本题)|(?:所以|因此|应该?|本题)选(?!项)|"
    r"选项?\s*[A-H]\s*(?:是?正确|符合)",
    re.IGNORECASE,
)
# a thought that turns back, on a step or on all of them
_TURNS = re.compile(
    r"\b(?:Wait|Hmm+|Hold on|Alternatively)(?:,|—|…|\.\.\.| (?:no|but|maybe|perhaps)\b)|"
    r"等等[，。]|等一下|不对[，。]"
)
# a thought that turns to all of the items at once
_LOOKS_AT_ALL = re.compile(
    r"\b(?:let me|let['’]s|i (?:need|have|want) to|i should) (?:\w+ ){1,4}(?:each|all|both|every)\b"
    r".{0,20}\b(?:option|choice|statement|answer|case|candidate|one)|"
    r"(?:让我|我们?(?:来|再|需要)).{0,6}(?:每个|所有|各个|各).{0,6}(?:选项|说法|情况|答案)",
    re.IGNORECASE,
)
# what follows from all cases
_FROM_CASES = re.compile(
    r"(?:so |thus,? |therefore,? |hence,? )?(?:from|in) (?:the|these|all|both|either|each|any) "
    r"(?:of )?(?:the |these )?(?:two |three |four |five |six |above )?cases\b|"
    r"综上|综合(?:以上|上述)|由(?:以上|上述).{0,3}种情况",
    re.IGNORECASE,
)
# a last step that puts the others together
_DRAWS = re.compile(
    r"\b(?:calculat\w*|comput\w*|find\w*|determin\w*|get\w*|add\w*)\b.*\b(?:total|sum|overall|final|"
    r"answer|result|solution)\b|\b(?:combin\w+|total|grand total|sum up|put(?:ting)? .*together)\b|"
    r"(?:计算|得出|得到|求出?).*(?:总|结果|答案|和$)|汇总|合计|相加|求和|得出结论",
    re.IGNORECASE,
)
# the same where a word counts it: "Third, we come to a conclusion", 最后，我们可以看到
_SEES = re.compile(
    r"(?:we|you|one|i) (?:can |may |could )?(?:now )?"
    r"(?:see|conclude|deduce|infer|combine|compare)\b|"
    r"[^.\n]*\b(?:come to|draw|reach|make) (?:a|the|our|your) (?:\w+ )?(?:conclusion|decision)|"
    r"(?:我们)?(?:就)?(?:可以|能够?|可)?(?:看到|看出|得出|推出|推断|判断出|知)",
    re.IGNORECASE,
)


# what turns to a further point without counting it: As for the wages, 至于工资
_FURTHER = re.compile(
    r"\s*(?:as (?:for|to|regards)|(?:with|in) regards? to|regarding|concerning|when it comes to|"
    r"on the other hand|additionally|moreover|furthermore|in addition|"
    r"also|another (?:reason|point|factor|aspect|way|thing|benefit|example))\b|"
    r"\s*(?:至于|关于|另一方面|此外|另外|同时|[对就于]\w{1,8}(?:而言|来说|来讲)[，,]|[一-鿿]{1,8}方面[，,])",
    re.IGNORECASE,
)


def goes_further(text: str) -> bool:
    """Whether a paragraph turns to a further point, and heads no list."""
    return bool(_FURTHER.match(text)) and not text.rstrip().endswith((":", "："))


def concludes(text: str) -> bool:
    """Whether a paragraph after the last step begins as a conclusion does."""
    return bool(_CONCLUDES.match(text))


def follows_from_cases(text: str) -> bool:
    """Whether a paragraph says what follows from all cases."""
    return bool(_FROM_CASES.match(text))


def sums_up(title: str, body: str) -> bool:
    """Whether a step is the conclusion of those before it, as its title or its first words say."""
    body = body.lstrip(" \t\n:：.")
    return bool(_SUMS_UP.match(title) or _SUMMARY.match(body)) or is_closing(body)


def is_closing(line: str) -> bool:
    """Whether a line is the title of a conclusion and nothing else."""
    return bool(_CLOSING_TITLE.match(line))


def is_back_matter(line: str) -> bool:
    """Whether a line is the title of what stands behind a conclusion."""
    return bool(_BACK_MATTER.match(line))


def follows(body: str) -> bool:
    """Whether a step follows from those before it, as its first words say."""
    return bool(_FOLLOWS.match(body.lstrip(" \t\n:：，,")))


def turns(text: str) -> bool:
    """Whether a thought turns back in a text."""
    return bool(_TURNS.search(text))


def looks_at_all(text: str) -> bool:
    """Whether a thought in a text turns to all of the items."""
    return bool(_LOOKS_AT_ALL.search(text))


def answers(text: str) -> bool:
    """Whether a text says what the answer is."""
    return bool(_ANSWERS.search(text))


def draws(title: str) -> bool:
    """Whether the title of a last step puts the others together."""
    return bool(_DRAWS.search(title))


def sees(body: str) -> bool:
    """Whether the first words of a last step draw from the others."""
    return bool(_SEES.match(body))
