"""Where blocks may not begin or end: code, formulas, tables, thoughts; topics that are whole."""

import pytest
from pdata.rules.rewriter import rewrite

from pbranch.format.tagged_text import parse, render, separators_of
from pbranch.format.tree import plain_text
from tests.support.forks import by_kind

IN_REGIONS = {
    "code": [
        ("Give me SQL for two reports.",
         "```sql\n-- Report of sales: how much was sold in each of the towns in the last year\n"
         "SELECT town, SUM(price) FROM sales GROUP BY town ORDER BY town;\n\n"
         "-- Report of stock: how much is left in each of the stores on the last day\n"
         "SELECT store, SUM(pieces) FROM stock GROUP BY store ORDER BY store;\n"
         "```\n"),
        ("How do I write Markdown lists?",
         "````markdown\n```\n- First item of the list, which is long enough to be worth a branch "
         "of its own\n- Second item of the list, which is long enough to be worth a branch of "
         "its own\n```\n1. One thing that is numbered and goes on for quite a few words in its "
         "line\n2. Another thing that is numbered and goes on for quite a few words in it\n"
         "````\n"),
        ("写一个Python脚本。",
         "代码如下：\n```python\ndef 打开(文件):\n    print(\"首先，打开文件并读取其中的所有内容"
         "，然后关闭它\")\n\ndef 保存(文件):\n    print(\"其次，把处理之后的内容写回文件里面去，"
         "并且关闭它\")\n```\n以上就是全部代码。"),
    ],
    "a list in code": [
        ("Write a TODO in Markdown.",
         "```md\n# Kitchen\n\n- [ ] buy a new lamp for the corner where it is so dark in the "
         "winter\n- [ ] paint the door in a colour that goes with the one of the floor\n\n"
         "# Garden\n\n- [ ] cut the hedge before the birds come back from the south to it\n"
         "- [ ] water the roses every evening as long as there is no rain for them\n"
         "```\nDone."),
        ("给我一个配置文件。",
         "配置文件如下：\n```yaml\n服务:\n- 网站: 运行公开的网站，使用两个进程，放在代理后面\n"
         "- 数据库: 保存订单和顾客的资料，全部放在一个数据卷里\n- 邮件: 晚上发送收据，失败时会自"
         "动重新发送\n```\n以上。"),
        ("How does a diff look?",
         "```diff\n- the old line said that the shop opens at nine on every day of the week\n"
         "- the old line said that the shop closes at six on every day of the week\n"
         "+ the new line says that the shop opens at ten on every day of the week\n"
         "+ the new line says that the shop closes at five on every day of the week\n"
         "```"),
    ],
    "formulas": [
        ("Energy of the photon?",
         "The energy is $E = h \\nu = \\frac{h c}\n{\\lambda}$ with $h = 6.6 \\cdot 10^{-34}$. "
         "So $E = \\frac{6.6 \\cdot 10^{-34} \\cdot\n3 \\cdot 10^{8}}{5 \\cdot 10^{-7}} = 4.0 "
         "\\cdot\n10^{-19}$ J. The answer is (B)."),
        ("Give the piecewise function.",
         "It is\n\\[\nf(x) = \\begin{cases}\n1. & \\text{if } x \\text{ is a rational number of "
         "the unit interval} \\\\\n2. & \\text{if } x \\text{ is an irrational number of the "
         "unit interval}\n\\end{cases}\n\\]\nand nothing else."),
        ("Work out the mean.",
         "$\\bar{x} = \\frac{3 + 5 + 10}{3} =\n\\frac{18}{3} = 6$ and $s^2 = \\frac{9 + 1 + "
         "16}{2} =\n\\frac{26}{2} = 13$ and $s = \\sqrt{13} =\n3.6$."),
    ],
}  # fmt: skip
THOUGHTS = {
    "thought": [
        ("কোন কাঠ ভালো?",
         "<think>\nবিকল্পগুলো:\nসেগুন, শাল এবং আম, যেগুলো দামে ও শক্তিতে একে অপরের থেকে আলাদা।"
         "\n\nসেগুনই ভালো।\n</think>\n\n**ব্যাখ্যা:**\nসেগুন কাঠ শক্ত এবং টেকসই, আর দেশের সব "
         "জায়গায় পাওয়া যায়।"),
        ("Name options.",
         "<thinking>\n1. Go by train, which takes three hours and costs about fifty coins.\n"
         "2. Go by bus, which takes five hours and costs about twenty coins.\n"
         "</thinking>\n\n3. Go by car, which takes four hours and costs about forty coins.\n"
         "4. Go by plane, which takes one hour and costs about ninety coins."),
        ("Pick a pet.",
         "<think>\n**Cat:** quiet, clean and able to look after itself for a day or two.\n\n"
         "**Dog:** loyal, but it has to be walked three times on every day.\n"
         "</think>\n\n**Answer:** a cat, since you are away from home on most of the days."),
    ],
}  # fmt: skip
TITLED = {
    "code": [
        ("Explain the glob.",
         "Its parts:\n- `src/**/*.{c,h}`: all the C files and headers, however deep in the tree "
         "they may lie.\n- `!src/test/[a-c]*.c`: but none of the tests whose names begin with "
         "one of these letters.\n- `docs/?.md`: and the pages of the manual whose names are one "
         "letter long.",
         ('- `src/**/*.{c,h}`', '- `!src/test/[a-c]*.c`', '- `docs/?.md`')),
        ("解释这些命令",
         "命令的含义：\n- `ls -l | grep \"a: b\"`：列出当前目录下名字里带有这几个字的文件。\n"
         "- `find . -name \"*.py\"`：在当前目录以及子目录里寻找所有的脚本文件。\n"
         "- `du -sh *`：显示当前目录里每一个文件和目录所占用的空间大小。",
         ('- `ls -l | grep "a: b"`', '- `find . -name "*.py"`', '- `du -sh *`')),
        ("Explain the units.",
         "- **`vh`, `vw`**: a hundredth of the height or the width of the window in which a page "
         "is shown.\n- **`em`, `rem`**: the size of the letters of the element, or of those of "
         "the whole page.",
         ('- **`vh`, `vw`**', '- **`em`, `rem`**')),
    ],
    "bold type": [
        ("Benefits of trees?",
         "- **Cooler Air (in summer)**: shade and vapour take several degrees off a hot street.\n"
         "- **Cleaner Air (all year)**: leaves catch dust which would end up in people's lungs.\n"
         "- **Calmer Minds**: a look at green leaves lowers the pulse within a few minutes.",
         ('- **Cooler Air (in summer)**', '- **Cleaner Air (all year)**', '- **Calmer Minds**')),
        ("Explain the terms.",
         "**Gross, taxable income**: what somebody has earned in a year before anything is taken "
         "off.\n\n**Net, disposable income**: what somebody may spend once the taxes have been "
         "paid on it.",
         ('**Gross, taxable income**', '**Net, disposable income**')),
        ("优点有哪些？",
         "- **便宜、耐用**：一把这样的椅子只要几十元，可以用上十几年。\n- **轻巧、美观**：一只手"
         "就能提起来，放在客厅里也很好看。",
         ('- **便宜、耐用**', '- **轻巧、美观**')),
    ],
}  # fmt: skip
PROMPT = "Tell me about it."


def topics(text: str, prompt: str = PROMPT) -> list[tuple[str, ...]]:
    """The topics of every fork of `text`, whose trace is read back as it was."""
    trace = rewrite(text, prompt).trace
    assert plain_text(trace) == text
    assert parse(render(trace), separators_of(trace)) == trace
    return [fork.topics for fork in trace.all_forks()]


@pytest.mark.parametrize(("prompt", "text"), by_kind(IN_REGIONS))
def test_no_block_begins_or_ends_inside(prompt: str, text: str) -> None:
    assert topics(text, prompt) == []


@pytest.mark.parametrize(("prompt", "text"), by_kind(THOUGHTS))
def test_no_branch_holds_the_end_of_a_thought(prompt: str, text: str) -> None:
    forks = rewrite(text, prompt).trace.all_forks()
    assert not any("think" in plain_text(branch) for fork in forks for branch in fork.branches)


@pytest.mark.parametrize(("prompt", "text", "expected"), by_kind(TITLED))
def test_a_topic_ends_with_its_title(prompt: str, text: str, expected: tuple[str, ...]) -> None:
    assert topics(text, prompt) == [expected]


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
