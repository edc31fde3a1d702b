"""Where blocks may stand and how they are cut: whole regions, whole lists, whole last steps, topics
that say something, forms of lists, and titles that are none."""

import pytest
from pdata.rules.rewriter import rewrite

from pbranch.format.tagged_text import parse, render, separators_of
from pbranch.format.tree import Trace, plain_text

PROMPT = "Tell me about it."


def cut(text: str, prompt: str = PROMPT) -> Trace:
    """The trace of `text`, which says the same and is read back as it was."""
    trace = rewrite(text, prompt).trace
    assert plain_text(trace) == text
    assert parse(render(trace), separators_of(trace)) == trace
    return trace


def topics(text: str, prompt: str = PROMPT) -> list[tuple[str, ...]]:
    return [fork.topics for fork in cut(text, prompt).all_forks()]


def branches(text: str, prompt: str = PROMPT) -> list[str]:
    """The branches of the only fork of the trunk."""
    (fork,) = cut(text, prompt).forks()
    return [plain_text(branch) for branch in fork.branches]


@pytest.mark.parametrize(
    "text",
    [
        "Like so:\n```python\nfor lamp in shop.find_lamps():\n    show(lamp.name, lamp.price)\n\n"
        "for chair in shop.find_chairs():\n    show(chair.name, chair.price, chair.height)\n```\n"
        "Ok.",
        "Here:\n\n~~~yaml\nrooms:\n- hall: it is painted in green and has three large windows\n- "
        "attic: it is full of boxes that nobody has opened for years\n~~~\n",
        # never closed: all that follows is code
        "See:\n```\n1. open the door of the shed and take the ladder out of it\n2. lean the "
        "ladder on the wall below the window that is open\n",
        "It is\n$$\n- a x^2 + b x + c, which is the form that the book gives for it, and\n- b x "
        "+ a x^2 + c, which is what the second edition of the book has\n$$\nas said.",
        "So\n\\begin{align}\n- x &= 3 y + 4 z, as follows from the first of the two rows\\\\\n- "
        "z &= 7 y + 9 w, as follows from the second of the two rows\n\\end{align}\nholds.",
        "| - lamp: of brass, and as old as the house itself, as they say |\n| - chair: of oak, "
        "with a seat of straw that has to be mended |\n\nThat is the table.",
        "<ul>\n- Lamp: of brass, and as old as the house itself, as they say\n- Chair: of oak, "
        "with a seat of straw that has to be mended\n</ul>\n",
    ],
)
def test_no_block_inside_code_formulas_tables_and_html(text: str) -> None:
    assert topics(text) == []


def test_a_formula_over_two_lines_is_one_line() -> None:
    text = (
        "The mass is $M = 3 \\cdot \n\\frac{7}{2 k}$ with $k = \\frac{1}{4}$. So $M = 6 \\cdot \n"
        "\\frac{9}{2 k} = 8 \\cdot \n\\frac{5.1 \\cdot 10}{2} = 204$. The answer is (B)."
    )
    assert topics(text) == []


def test_prices_are_no_formula() -> None:
    text = (
        "- Lamps cost $30 each, which is less than what the shop next door takes.\n- Chairs cost "
        "$45 each, which is more than what the shop next door takes."
    )
    assert topics(text) == [("- Lamps", "- Chairs")]


@pytest.mark.parametrize(
    "text",
    [
        "<think>\nTwo things count:\nthe wood of the bow and the string that is put on it.\n"
        "</think>\n\n**Advice:**\nTake ash, which bends well and is sold in every part of the "
        "country.",
        "<think>\n1. Ash bends well and springs back, whatever the weather may be.\n</think>\n2. "
        "Elm splits less than ash, and it can be had at half the price of it.",
        "<think>\n- Ash bends well and springs back in any weather.\n</think>\n\n- Elm splits "
        "less, and it is had at half the price.\n",
    ],
)
def test_no_block_goes_across_the_end_of_a_thought(text: str) -> None:
    assert topics(text) == []


def test_thought_and_answer_have_blocks_of_their_own() -> None:
    one = (
        "- Ash bends well and springs back in any weather that there is.\n- Elm splits less than "
        "ash when it is dry, and it is cheap."
    )
    two = (
        "- Yew is the best wood of all the woods for a bow.\n- Fir is far too soft for a bow, "
        "whatever they say."
    )
    assert len(topics(f"<think>\n{one}\n</think>\n{two}")) == 2


LIST = (
    "1. Wheel: it is turned by the water of the brook and drives the axle.\n\n2. Stones: two of "
    "them grind the corn, and only the upper one turns.\n\n3. Gears: {}"
)


@pytest.mark.parametrize(
    "last",
    [
        "there are several in the house, including:\n\n- the crown, under the floor\n- the "
        "lantern, on the beam",
        "they turn the stones at a speed of\n\n$$v = 3 w + 1$$\n\nwhere w is that of the wheel.",
        "they are set as follows:\n\n```\nset(3)\n\nset(4)\n```",
        "they are listed here:\n\n| gear | teeth |\n|---|---|\n| crown | 40 |",
        "there are two of them.\n\n   The one under the floor is the larger one.",
    ],
)
@pytest.mark.parametrize("end", ["", "\n\nOverall, a mill is simple."])
def test_the_last_step_has_what_belongs_to_it(last: str, end: str) -> None:
    assert branches(LIST.format(last) + end)[-1] == f"3. Gears: {last}"


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("Option (A): it has the colour first and the size second, which is wrong.\nOption (B): "
         "it has the size first and the colour second, which is right. So the answer is (B).",
         " So the answer is (B)."),
        ("- Bert has five pears in the basket that he has brought along.\n- Cleo has seven plums "
         "in the basket that she has brought along. The correct answer is Cleo. She wins.",
         " The correct answer is Cleo. She wins."),
        ("选项A：这句话里先说颜色，再说大小，所以不合语序。\n选项B：这句话里先说大小，再说颜色，"
         "符合语序。因此正确答案是B。", "因此正确答案是B。"),
    ],
)  # fmt: skip
def test_the_answer_stands_behind_the_join(text: str, rest: str) -> None:
    *_, last = cut(text).parts
    assert plain_text(Trace((last,))) == rest


def test_an_answer_in_every_step_stays_there() -> None:
    text = (
        "Question 1: there are three lamps in the hall now. So the answer is 3.\nQuestion 2: "
        "there are nine chairs in the attic now. So the answer is 9."
    )
    assert branches(text) == text.split("\n")


@pytest.mark.parametrize(
    "text",
    [
        "首先，说法一不对，因为这盏灯不是铜做的。\n其次，说法二可以保留，因为这把椅子是木头做的。"
        "\n最后，只剩下说法二，因此正确答案是B。",
        "1. The lamp is made of brass, as the list of the house says.\n2. The chair is made of "
        "oak, as everybody who sat on it knows.\n3. Therefore, the chair is lighter than the lamp.",
        "First, the lamp is made of brass, as the list of the house says.\nSecond, the chair is "
        "made of oak, as everybody knows.\nFinally, oak is lighter, so the answer is the chair.",
        "1. Pick the names: the council collects them in spring.\n2. Read the names: the council "
        "reads them aloud.\n3. Final choice: the mayor takes the one that most of them like.",
        "1. **Ways up:** there are three of them on the north side.\n2. **Ways down:** there are "
        "five on the south side.\n3. **Total number of ways:** these numbers are multiplied.",
    ],
)
def test_no_list_whose_last_step_follows_from_the_others(text: str) -> None:
    assert topics(text) == []


def test_a_summary_stays_out_of_the_list() -> None:
    text = (
        "1. 港口：这里有很多船，风景很好，游客不少。\n2. 市场：这里有奶酪和面包，价格也很便宜。\n"
        "3. 总结：这座城市值得去。"
    )
    assert topics(text) == [("1. 港口", "2. 市场")]


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        # the first two share 40, which nobody has given
        ("- With one lamp: 3 * 40 / 6 = 20 hours of light\n- With a chair: 9 * 40 / 5 = 72 hours "
         "of rest\n- With a drum: 8 * 11 / 4 = 22 hours of noise for all\n- With no drum: 7 * 12 "
         "/ 3 = 28 hours of sleep for all\n", "How many hours?"),
        ("2. the harbour is worth a visit for its boats and its view\n3. the market is worth a "
         "visit for its cheese and its bread\n", PROMPT),
        ("Lamp\nA: it is made of brass and stands in the hall\nC: it is made of tin and stands "
         "in the attic\n", "Which one? A: brass B: wood C: tin"),
        ("## Harbour\n\nIt is worth a visit for its boats.\n\n## Market\n\nIt is worth a visit "
         "for its cheese.\n\n## Steps\n\nFirst go to the harbour.", PROMPT),
    ],
)  # fmt: skip
def test_all_like_items_or_none(text: str, prompt: str) -> None:
    assert topics(text, prompt) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- **Brass Lamp (old)**: it stands in the hall of the house and is lit at night only.\n"
         "- **Brass Clock (new)**: it hangs in the hall of the house and strikes every hour of a "
         "day.\n",
         ("- **Brass Lamp (old)**", "- **Brass Clock (new)**")),
        ("- `a[0-9]+`: an a and then one or more digits, as many as there are in a row.\n- "
         "`b[0-9]*`: a b and then any number of digits, and there may be none of them.\n",
         ("- `a[0-9]+`", "- `b[0-9]*`")),
        ("- $k = 3$ gives a triangle, which is what the drawing in the book shows to all.\n- $k "
         "= 4$ gives a square, which is what the model in the hall shows to all who come.\n"
         "", ("- $k = 3$", "- $k = 4$")),
        ("1. How often do you light the lamp?\nA. daily\nB. never\n\n2. Where does the lamp "
         "stand in the house?\nA. hall\nB. attic\n", ("1. How often", "2. Where does")),
        ("1. **Harbour (9:30-10:00)**: it has many boats and a long pier, where one can sit and "
         "look at the sea for hours, as the people of the town like to do.\n2. **Market "
         "(10:30-12:00)**: it has cheese and all sorts of bread, which one can buy and take "
         "home, as the guests of the town like to do.\n",
         ("1. **Harbour (9:30-10:00)**", "2. **Market (10:30-12:00)**")),
        ("一、港口的风景\n这里有很多船，风景很好，游客不少。\n二、市场的美食\n这里有奶酪和面包，"
         "价格不贵，味道很好。\n",
         ("一、港口的风景", "二、市场的美食")),
    ],
)  # fmt: skip
def test_topics_are_whole_and_say_something(text: str, expected: tuple[str, ...]) -> None:
    assert topics(text) == [expected]


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


@pytest.mark.parametrize(
    "text",
    [
        "First, we write both of them as sums:\n\\[a + b\\]\n\nNext, we take the larger one of "
        "them:\n\\[a + c\\]\n\nThe sum is 9.",
        "To find the area, we use the formula:\n\nA = l w, for all of the sides\n\nThe area is "
        "then given by:\n\nA = 12 for the hall and the attic\n",
        "根据题意，可以得到：\n两枚硬币都是正面，概率为四分之一。\n\n所以，结果如下：\n"
        "概率之和为一，符合要求，没有遗漏。",
        "Ingredients:\n\n* two cups of red lentils\n* one onion, cut fine, and some oil\n\n"
        "Instructions:\n\nFry the onion, add the lentils and cook them all for half an hour.",
        "**Answer:**\nTake the lamp of brass from the hall.\n\n**Explanation:**\nIt is the only "
        "one that is lit at night, as the list of the house says.",
        "## 材料\n\n两杯红扁豆，一个洋葱，少许油和盐，一升清水。\n\n## 做法\n\n先炒洋葱，"
        "再加入扁豆和水，煮半个小时。",
        "def open(door):\n    push(door)\n    wait(3)\n\ndef close(door):\n    pull(door)\n    "
        "wait(4)\n",
    ],
)
def test_lines_that_lead_on_and_parts_of_a_page_are_no_titles(text: str) -> None:
    assert topics(text) == []


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("Ada: Have you seen the lamp that stood in the hall?\nBen: Yes, it is in the attic now, "
         "where nobody needs it.\n", "Write a talk between Ada and Ben."),
        ("**Guide:** Welcome to our mill, dear guests! Follow me.\n**Guest:** Thank you, we have "
         "come a long way to see it.\n", "Write a dialogue."),
        ("Person 1: Have you seen the lamp that stood in the hall for years?\nPerson 2: I have, it "
         "is in the attic now, where nobody needs it.\n", "Write a conversation of two people."),
        ("小安：你看见大厅里的那盏灯了吗？我找不到它。\n小本：看见了，它现在放在阁楼里，"
         "没有人用。\n",
         "写一段小安和小本的对话。"),
    ],
)  # fmt: skip
def test_turns_of_a_talk_are_no_list(text: str, prompt: str) -> None:
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


def test_steps_stand_as_far_in_as_one_another() -> None:
    text = (
        "- **Inside:**\n  - lamps of brass that shine all night\n  - chairs of oak that are "
        "mended\n- **Outside:**\n  - a mill with a wheel in the brook\n  - a shed with ladders "
        "and shovels\n"
    )
    outer, *inner = topics(text)
    assert outer == ("- **Inside:**", "- **Outside:**")
    assert [len(found) for found in inner] in ([], [2, 2])


def test_lists_after_one_that_stays_linear() -> None:
    text = (
        "1. Ada gives the drum to Ben.\n2. Ben hands the drum to Cleo.\n3. Cleo sells it to "
        "Dan.\n\nWhat they are known for:\n\n- Ada builds boats that sail around the whole "
        "island in summer\n- Ben bakes bread that people from other towns come for on Sundays\n"
    )
    assert topics(text, "Who has the drum?") == [("- Ada", "- Ben")]
