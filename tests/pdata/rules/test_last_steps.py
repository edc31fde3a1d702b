"""The last step of a list: it is whole, without the answer and what is drawn from all steps."""

import pytest
from pdata.rules.rewriter import rewrite

from pbranch.format.tree import plain_text
from tests.support.forks import by_kind, trunk_forks

# how many branches there are, and what the last one ends with
WHOLE = {
    "a list of its own": [
        ("介绍一家公司的部门。",
         "公司有以下部门：\n\n1. 生产部：负责生产所有的产品，分成三个车间，昼夜轮班。\n\n"
         "2. 销售部：负责把产品卖到全国各地，并且收集顾客的意见。\n\n3. 行政部：负责公司的日常事"
         "务，包括：\n\n- 人事：招聘新员工，安排培训，发放工资。\n- 后勤：管理车辆和食堂，采购办"
         "公用品。\n",
         3, "- 后勤：管理车辆和食堂，采购办公用品。"),
        ("Parts of a computer?",
         "1. **Processor**: does all the sums and decides which part of a program comes next.\n\n"
         "2. **Memory**: holds what the processor is working on as long as the power is on.\n\n"
         "3. **Ports**: let other devices talk to it:\n\n    - USB for keyboards, mice and "
         "sticks of every kind\n\n    - HDMI for screens, projectors and television sets\n\n"
         "In short, these make a computer.",
         3, " and television sets"),
        ("本书讲了什么？",
         "一、历史：讲述了这座城市从建立到今天的经过，配有许多老照片。\n\n二、人物：介绍了十几位"
         "在这座城市里生活过的作家和画家。\n\n三、风景：带读者走过城里最值得看的几个地方，它们是"
         "：\n\n1. 河边的旧码头，傍晚时可以看到落日。\n\n2. 山上的石塔，从那里可以看到全城。\n",
         3, "2. 山上的石塔，从那里可以看到全城。"),
    ],
    "a sentence about a formula": [
        ("For which p is it prime?",
         "Let us split.\n\nCase 1: $p = 3k$\n\nHere, $p$ is divisible by three, so that only $p "
         "= 3$ could be a prime, and it is none.\n\nCase 2: $p = 3k + 1$\n\nHere, the sum is "
         "divisible by three, so that it is never a prime number at all.\n\nCase 3: $p = 3k + 2$"
         "\n\nHere, we have that\n\n$$p^2 + 2 = 9k^2 + 12k + 6,$$\n\nwhich is divisible by "
         "three, and larger than three, so it is no prime either.",
         3, "no prime either."),
        ("Discuss.",
         "Case A. The point lies inside of the circle.\n\nThen every line through it meets the "
         "circle twice, and the product is the same.\n\nCase B. The point lies outside of the "
         "circle.\n\nThen there are lines that meet it twice, and for them\n\n"
         "$$PA \\cdot PB = PT^2 ,$$\n\nwhere $T$ is the point at which a tangent touches the "
         "circle.",
         2, "touches the circle."),
        ("Count.",
         "Case 1: no corner is used. There are four ways to do that, one for each of the sides."
         "\n\nCase 2: one corner is used. There are\n\n$$4 \\cdot 3 = 12$$\n\n"
         "ways to do that, as three squares are left for the second piece.\n\n"
         "In both cases the total is finite.",
         2, "the second piece."),
    ],
    "a line of arithmetic": [
        ("Check the primes.",
         "1. 91 = 7 * 13, and so it is not a prime number, though it looks like one\n"
         "2. 97 cannot be divided by 2, 3, 5 or 7, and so it is a prime number\n"
         "3. 119 = 7 * 17, and so it is not a prime number, though it looks like one\n"
         "4. 127 cannot be divided by 2, 3, 5, 7 or 11, and so it is a prime number\n\n"
         "Two of them.",
         4, "it is a prime number"),
        ("What is the total of each invoice?",
         "Invoice A: 12 * 3.50 = 42.00, to be paid within thirty days of its date\n"
         "Invoice B: 7 * 6.00 = 42.00, to be paid within fourteen days of its date\n"
         "Invoice C: 9 * 2.25 = 20.25, to be paid within thirty days of its date\n"
         "Invoice D: 5 * 8.10 = 40.50, to be paid within fourteen days of its date\n\n"
         "That's all.",
         4, "een days of its date"),
        ("Evaluate the options.",
         "**A**: 2^5 - 1 = 31, which is a prime number of the form that is asked for here\n"
         "**B**: 2^6 - 1 = 63, which is 7 * 9, and therefore no prime number of this form\n"
         "**C**: 2^7 - 1 = 127, which is a prime number of the form that is asked for here\n"
         "**D**: 2^8 - 1 = 255, which is 15 * 17, and therefore no prime number of this form\n"
         "Done.",
         4, " number of this form"),
    ],
}  # fmt: skip
# how many branches there are, and what stands behind the join
ANSWERED = {
    "conclusion": [
        ("选出错误的一项。",
         "A项正确，政府依法行政，符合宪法的规定，也符合人民的利益。\nB项正确，公民有依法纳税的义"
         "务，这是宪法明确规定的内容。\nC项错误，选举权属于年满十八周岁的公民，不是所有的人。\n"
         "D项正确，村民委员会是群众自治组织。因此本题选C。",
         4, "因此本题选C。"),
        ("选哪个？",
         "首先，分析选项A：材料没有提到环境问题，所以这个选项与题意无关。\n其次，分析选项B：材料"
         "强调的是创新，而这个选项讲的是传统，也不符合。\n再次，分析选项C：材料的主旨是科技创新推"
         "动发展，与这个选项一致。\n因此，答案为C。",
         3, "因此，答案为C。"),
        ("Which one?",
         "(A) is wrong, since the text says nothing of a war in those years at all.\n"
         "(B) is wrong, since the king was still a child in those years of the treaty.\n"
         "(C) is right, since the treaty was signed by the queen. Answer: C",
         3, "Answer: C"),
    ],
    "answer": [
        ("Which sentence is sarcastic? (A) Great, more rain. (B) I like rain.",
         "Let's look at both.\nOption (A): \"Great, more rain.\" praises what most people "
         "dislike, which is how sarcasm sounds.\nOption (B): \"I like rain.\" just says what the "
         "speaker likes, and there is no second meaning in it. Therefore, the answer is (A).",
         2, "Therefore, the answer is (A)."),
        ("下列哪一项正确？",
         "①说法错误，地球绕着太阳转，而不是太阳绕着地球转。\n②说法错误，月亮本身不发光，它反射太"
         "阳的光。\n③说法正确，一年有四季是因为地轴倾斜。故选C。",
         3, "故选C。"),
        ("哪个？",
         "- 甲：他在三点钟离开了教室，有两个同学看见了他。\n- 乙：他在四点钟才到学校，门卫记下了"
         "他的名字。\n- 丙：他整个下午都在教室里，没有人陪着他。综上，丙最可疑。",
         3, "综上，丙最可疑。"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("prompt", "text", "branches", "end"), by_kind(WHOLE))
def test_the_last_step_goes_on_to_its_end(prompt: str, text: str, branches: int, end: str) -> None:
    (fork,) = trunk_forks(text, prompt)
    assert len(fork) == branches and fork[-1].endswith(end)


@pytest.mark.parametrize(("prompt", "text", "branches", "rest"), by_kind(ANSWERED))
def test_the_answer_is_in_no_branch(prompt: str, text: str, branches: int, rest: str) -> None:
    trace = rewrite(text, prompt).trace
    (fork,) = trace.forks()
    assert len(fork.branches) == branches
    assert text.removesuffix(rest).rstrip().endswith(plain_text(fork.branches[-1]))
