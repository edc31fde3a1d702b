"""How blocks are cut: whole lists, whole last steps, the answer behind the join; and titles that
are none."""

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
