"""Whether steps are the fields of one record, as of a book or a person."""

import re
from itertools import pairwise

from pdata.rules.blocks.lines import Line
from pdata.rules.blocks.masks import unshield
from pdata.rules.blocks.titles import count_words
from pdata.rules.prompt import Prompt

# a field of the record of a text, a person, a place or a thing, and its value
_FIELD_OF_RECORD = re.compile(
    r"[\s*_+•-]*(?:\d+[.)]\s*)?[*_]*(?:(?:full |first |last |sur|middle )?name|titles?|authors?|"
    r"editors?|artists?|directors?|(?:release |publication |birth |due |start |end )?date"
    r"(?: of (?:birth|publication))?|year|journal|publisher|publication|volume|issue|pages?|doi|"
    r"isbn|url|age|gender|sex|nationality|birthplace|born|occupation|job(?: title)?|position|"
    r"company|employer|address|city|state|zip(?: code)?|country|phone(?: number)?|"
    r"telephone|e-?mail(?: address)?|website|genre|album|edition|language|brand|model|"
    r"serial number|order (?:number|id)|customer(?: id)?|invoice (?:number|date)|height|weight|"
    r"species|race|class|level|alignment|time|venue|host|"
    r"姓名|名字|全名|昵称|性别|年龄|职业|身份|国籍|籍贯|出生(?:日期|年月|地)?|生日|身高|体重|住址|地址|电话(?:号码)?|手机号?|"
    r"邮箱|电子邮[件箱]|学历|学校|公司|职位|书名|标题|题目|作者|导演|主演|出版社|出版(?:日期|时间)|日期|时间|地点|期刊|"
    r"卷号?|期号?|页码|网址|语言|品牌|型号|价格|编号|类型)[*_]*\s*[:：]",
    re.IGNORECASE,
)
_PAIR = re.compile(r"[^:：\n]{1,40}[:：][*_\s]*(\S.*)")


def is_record(lines: list[Line], run: list[int], prompt: Prompt) -> bool:
    """Whether the steps are the fields of one thing that is made up, with values that must agree;
    values that the prompt gives are just read off."""
    if len(run) < 3 or any(b != a + 1 for a, b in pairwise(run)):
        return False
    fields = [_FIELD_OF_RECORD.match(unshield(lines[i].text)) for i in run]
    known = sum(bool(m) for m in fields)
    if known < 2 or 2 * known < len(run):
        return False
    pairs = [_PAIR.match(unshield(lines[i].text)) for i in run]
    values = [m[1].strip(" \"'*.。“”") for m in pairs if m]
    short = sum(count_words(x) + len(re.findall("[一-鿿]", x)) / 2 <= 12 for x in values)
    given = sum(prompt.says(x) or x in prompt.text for x in values)
    return short > len(run) / 2 and 2 * given < len(run)
