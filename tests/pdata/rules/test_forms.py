"""Forms of lists: numbers, letters and words that count, in English and Chinese; short lists."""

import re

import pytest
from pdata.rules.rewriter import rewrite

from pbranch.format.tagged_text import parse, render, separators_of
from pbranch.format.tree import plain_text
from tests.support.forks import by_kind, trunk_forks

FORMS = {
    "numbers in Chinese": [
        ("列出三种茶的特点。",
         "三种茶如下：\n\n1.绿茶：没有发酵，颜色清亮，味道清新，适合夏天饮用。\n"
         "2.红茶：完全发酵，颜色深红，味道浓厚，适合冬天饮用。\n3.白茶：轻微发酵，颜色很浅，味道"
         "清淡，适合老年人饮用。", 3),
        ("说说三种材料",
         "(1)木材：来源广泛，容易加工，但是怕火也怕潮湿。\n(2)钢材：强度很高，可以回收，但是容易"
         "生锈，需要涂漆。\n(3)玻璃：透明美观，容易清洗，但是比较脆，怕碰撞。", 3),
        ("说说三个节日",
         "一.春节：家家户户贴春联，放鞭炮，全家人一起吃年夜饭。\n二.端午：人们包粽子，赛龙舟，纪"
         "念古代的诗人屈原。\n三.中秋：家人团聚，一起赏月，吃月饼，讲嫦娥的故事。", 3),
        ("三个优点",
         "（一）价格低：同样的质量，这里的价格只有别处的一半。\n（二）服务好：店员耐心解答每一个"
         "问题，还提供免费送货。\n（三）位置好：商店就在地铁站旁边，去那里非常方便。", 3),
    ],
    "words that count": [
        ("Why live in the country?",
         "First of all, the air is clean, and one can hear birds instead of cars in the morning."
         "\n\nSecond of all, rents are low, so that a family can have a garden of its own there."
         "\n\nLast of all, neighbours know each other and lend a hand when somebody is ill.", 3),
        ("What speaks for trains?",
         "The first reason is comfort: one can walk around, read and sleep while going somewhere."
         "\n\nThe second reason is safety: accidents are rare, and drivers are trained for years."
         "\n\nThe third reason is climate: a train needs a fraction of the fuel of a plane.", 3),
        ("Give arguments for a four-day week.",
         "Firstly: people who have slept enough make fewer mistakes, which saves money for all.\n"
         "Secondly: offices can be heated for a day less, which is good for the climate.\n"
         "Thirdly: parents have more time for their children, which schools will notice soon.", 3),
        ("为什么选择这座城市？",
         "其一，这里气候温和，冬天不太冷，夏天也不太热，适合居住。\n其二，这里交通便利，坐火车到"
         "周围的大城市都不超过两个小时。\n其三，这里物价不高，普通的家庭也能过上舒适的日子。", 3),
        ("What are the perks?",
         "First off, the pay is good, and it comes on the first day of each month without fail."
         "\n\nSecondly, the office is close to the river, where one can eat lunch in the sun.\n\n"
         "Thirdly, the colleagues are kind, and they help newcomers with whatever they need.", 3),
        ("两种解法",
         "方法一：配方法。把二次项和一次项配成完全平方，再移项开方求出两个根。\n\n"
         "方法二：公式法。先计算判别式，再代入求根公式，直接写出两个根。", 2),
        ("观点",
         "观点一：读书应当多而广，这样才能打下坚实的基础，看到更大的世界。\n观点二：读书应当少而"
         "精，把一本好书读透，胜过浏览一百本书。\n观点三：读书应当因人而异，年轻人多读，老年人精"
         "读。", 3),
        ("Ideas?",
         "Idea #1: a walk along the harbour at night with a guide who tells tales of smugglers."
         "\n\nIdea #2: a tasting of cheese in the old cellar below the town hall with bread and "
         "wine.\n\nIdea #3: a concert in the stone quarry, where the echo makes one drum sound "
         "like ten.", 3),
    ],
    "lines that stand in": [
        ("Where could the key be?",
         "\tOption 1: in the coat\n\tIt was worn last night and hangs in the hall of the house.\n"
         "\tOption 2: in the car\n\tIt was used on Sunday and stands in front of the garage.\n"
         "\tOption 3: in the door\n\tIt happens that somebody leaves it in the lock outside.", 3),
        ("Possibilities?",
         "\u3000\u3000可能一：灯泡坏了\n\u3000\u3000灯泡用了三年，已经超过了一般的寿命，需要换一"
         "个新的。\n\u3000\u3000可能二：电线断了\n\u3000\u3000老鼠常常咬电线，需要请电工来检查墙"
         "里的线路。\n\u3000\u3000以上。", 2),
        ("Scenarios",
         "\xa0Scenario 1: rates go up. Loans get dearer, and fewer houses are built in the towns."
         "\n\xa0Scenario 2: rates stay. Builders go on as they did, and rents rise a little each "
         "year.\n\xa0Scenario 3: rates go down. Loans get cheaper, and cranes are seen all over "
         "the towns.", 3),
    ],
}  # fmt: skip
NUMBERED = {
    "questions": [
        ("Write a survey on coffee.",
         "Please answer:\n\n1. How many cups of coffee do you drink on a normal working day?\n"
         "A. None\nB. One or two\n\n2. Where do you buy your coffee when you are not at home?\n"
         "A. Bakery\nB. Petrol station\n\n3. What would make you drink less coffee than you do "
         "now?\nA. Price\nB. Health\n\nThank you."),
        ("设计一份问卷。",
         "请回答：\n\n1. 你平时每天用手机看视频的时间大约是多少？\nA. 不到一小时\n"
         "B. 超过一小时\n\n2. 你最喜欢看哪一类的视频？\nA. 新闻\nB. 音乐\n\n3. 你愿意为没有广告的"
         "视频付费吗？\nA. 愿意\nB. 不愿意\n\n谢谢。"),
        ("Give me quiz questions.",
         "1. Who painted the ceiling of the chapel in the Vatican, lying on his back for years?\n"
         "2. Which river flows through more countries than any other river in the world?\n"
         "3. What is the only mammal that can truly fly, and not just glide from tree to tree?"),
    ],
}  # fmt: skip
SHORT = {
    "two words each": [
        ("Who scored more?\n\nPlayer | Points\nLee | 21\nMoe | 34",
         "Read the table.\n\nLee: 21\nMoe: 34\n\nMoe scored 13 more."),
        ("Name two colours.",
         "1. Red\n2. Blue"),
        ("Pros and cons?",
         "Pros:\n- cheap\n\nCons:\n- slow\n"),
    ],
}  # fmt: skip
PROMPT = "Tell me about it."


def topics(text: str, prompt: str = PROMPT) -> list[tuple[str, ...]]:
    """The topics of every fork of `text`, whose trace is read back as it was."""
    trace = rewrite(text, prompt).trace
    assert plain_text(trace) == text
    assert parse(render(trace), separators_of(trace)) == trace
    return [fork.topics for fork in trace.all_forks()]


@pytest.mark.parametrize(("prompt", "text", "branches"), by_kind(FORMS))
def test_whole_lists_of_a_form(prompt: str, text: str, branches: int) -> None:
    assert [len(fork) for fork in trunk_forks(text, prompt)] == [branches]


@pytest.mark.parametrize(("prompt", "text"), by_kind(NUMBERED))
def test_topics_say_more_than_a_number(prompt: str, text: str) -> None:
    (found,) = topics(text, prompt)
    assert len(found) == 3 and all(re.search(r"[^\W\d]{2}", topic) for topic in found)


@pytest.mark.parametrize(("prompt", "text"), by_kind(SHORT))
def test_what_saves_no_pass_stays_linear(prompt: str, text: str) -> None:
    assert topics(text, prompt) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.白蜡木：质地坚硬，弯曲性好，适合做弓。\n2.冷杉：质地柔软，价格便宜，容易加工。\n",
         ("1.白蜡木", "2.冷杉")),
        ("1)《茶馆》写的是一座城市里的普通人，很有名。\n2)《家》写的是一个大家庭里的年轻人，"
         "也有名。\n",
         ("1)《茶馆》", "2)《家》")),
        ("Firstly, the lamp is made of brass and shines at night.\n\nSecondly, the chair is made "
         "of oak and has a seat of straw.\n\nThirdly, the basket holds all the apples.\n\nThat "
         "is all.",
         ("Firstly", "Secondly", "Thirdly")),
        ("First, the lamp is made of brass and shines at night.\nSecond, the chair is made of "
         "oak and has a seat of straw.\nLastly, the basket holds all the apples.\n",
         ("First", "Second", "Lastly")),
        ("首先，这盏灯是铜做的，整夜都亮着。\n\n人们都喜欢它。\n\n其次，这把椅子是木头做的。\n\n"
         "坐垫是草编的，坐着舒服。\n\n最后，篮子里装着树上所有的苹果。\n\n孩子们都来拿。",
         ("首先", "其次", "最后")),
        (" Case 1: no lamp\n There is one way to leave all of them dark.\n Case 2: one lamp\n "
         "There are ten ways, as any lamp may be it.\n That is all of "
         "them.", (" Case 1", " Case 2")),
        ("1.) The lamp is made of brass and shines at night, as they say in the house.\n2.) The "
         "chair is made of oak and has a seat of straw, as old chairs have.\n", ("1.) The "
         "lamp", "2.) The chair")),
        ("Option A is made of brass, so it is far too heavy.\nOption B is made of tin, so it is "
         "not heavy enough.\nOption C says nothing of what it is made of.\n",
         ("Option A", "Option B", "Option C")),
        ("A项错误，这盏灯是铜做的，不是铁做的。\nB项正确，这把椅子是木头做的，符合题意。\n"
         "C项错误，篮子里装的是苹果，不是梨。\n", ("A项", "B项", "C项")),
    ],
)  # fmt: skip
def test_more_forms_of_lists(text: str, expected: tuple[str, ...]) -> None:
    assert topics(text) == [expected]


INLINE = (
    "There are three of them: (a) the lamp is made of brass and shines all night; (b) the chair "
    "is made of oak and has a seat of straw; and (c) the basket holds all the apples of the tree."
)


def test_a_list_in_one_sentence() -> None:
    assert topics(f"{INLINE}\nThat is all.") == [("(a)", "(b)", "(c)")]
    text = (
        "（1）这盏灯是铜做的，整夜都亮着；（2）这把椅子是木头做的，坐垫是草编的；"
        "（3）篮子里装着树上所有的苹果。"
    )
    assert len(topics(f"共有三点：{text}")) == 1


@pytest.mark.parametrize(
    "text",
    [
        f"{INLINE} All of these are old.",  # where does (c) end?
        "From (1) and what is said of the lamp we see that it is of brass, and from (2) and what "
        "is said of the chair we see that it is of oak.",
        "It is: (b) the lamp of brass that shines all night; (c) the chair of oak with its straw.",
    ],
)
def test_signs_in_a_sentence_that_are_no_clear_list(text: str) -> None:
    assert topics(text) == []


def test_decimals_are_no_list() -> None:
    assert (
        topics("1.5 litres of milk go into the bowl first\n2.5 litres of water go in too\n") == []
    )


@pytest.mark.parametrize(
    "text",
    [
        "Ada: 67\nBen: 52\n\nSo 67 - 52 = 15.",
        "1. Lamp\n2. Chair\n3. Basket",
        "- lamp (noun)\n- light (verb)\n\nThese are both.",
    ],
)
def test_a_block_that_saves_no_pass_is_not_made(text: str) -> None:
    assert rewrite(text, "Ada: 67\nBen: 52").reason == "no saving"
