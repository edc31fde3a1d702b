"""Steps that stand on what a sibling names, works out or leaves behind, in texts of our own; and
steps that look alike and fork."""

import pytest
from pdata.rules.dependence.number_trace import worked_out
from pdata.rules.rewriter import rewrite

ARGUMENT = "How many ways are there?"
LOOP = "What does f return?\n\n[CODE]\ndef f(a): ...\n[/CODE]"
TRIP = "Plan a day in Iceland."
DEPENDENT = {
    # --- the label of a sub-case
    "case": (ARGUMENT, "Case 1: Both rows are full, so order alone matters.\n\n"
        "Case 2: One row is empty. As in case 1, order alone matters."),
    "case-argument": (ARGUMENT, "1. A red hat is worn, which leaves blue ones.\n"
        "2. A blue hat is worn; use the argument of case 1 for the red ones."),
    "case-cn": ("有多少种方法？", "情况一：红球在前，只看蓝球的次序。\n\n"
        "情况二：蓝球在前，与情况一的方法相同，只看红球。"),
    # --- items of a size, built from smaller ones
    "length": ("List the words.", "- A word of length 1 is a single vowel.\n"
        "- A word of length 2 puts a consonant behind a word of length 1."),
    "size": ("List the towers.", "- Towers of size 3 have a red top.\n"
        "- Towers of size 5 are Towers of size 3 with two floors more."),
    "length-cn": ("列出所有的串。",
        "1. 长度为2的串只有红色一种。\n2. 长度为3的串在长度为2的串后面加蓝色。"),
    # --- formulas and equations of an earlier part
    "derivative": ("Let f be given. (1) Find its minimum. (2) Show that it grows.",
        "(1) We have $f'(x) = \\frac{x+2}{x} - 1 = \\frac{2}{x}$, so there is none.\n\n"
        "(2) Since $f'(x) = \\frac{2}{x}$ is positive, it grows."),
    "chain": ("(1) Find g. (2) Is it even?",
        "(1) It is $g(t) = (t+k)t = t^2 + kt$ for all t.\n\n"
        "(2) For $g(t) = t^2 + kt$ the sign of t matters, so it is not."),
    "line": ("(1) Find the line. (2) Find the point on both.",
        "(1) The slope tells us that $x + 3y = k$ holds for it.\n\n"
        "(2) From $x + 3y = k$ and the circle the point follows."),
    "line-cn": ("（1）求曲线的方程；（2）求交点。", "(1) 消去参数，曲线为$x^2+y=k$。\n\n"
        "(2) 解方程$x^2+y=k$，交点在轴上。"),
    "about": ("Which share is salt?", "1. **Salt**: 9 g ÷ 58.5 ≈ 0.1538 mol\n"
        "2. **Sum**: 0.1538 (NaCl) + 1.2 (H₂O) ≈ 1.3538 mol"),
    "approx": ("Find the angle.", "1. **Height**: $h \\approx 7.31$ metres by the shadow.\n"
        "2. **Slope**: with 7.31 metres and the base it is steep."),
    # --- letters that are given to shared things
    "letters": ("Find the area.", "Let's denote the sides:\n\n- Field P is $p \\times q$ large.\n"
        "- Field R is $r \\times q$ large."),
    "letters-sum": ("Find the ages.",
        "We denote the ages by letters:\n\n- Ann and Bo: $u + v$ years.\n"
        "- Bo and Cy: $v + w$ years."),
    "letters-cn": ("求面积。",
        "设各边的长度：\n\n- 东边的地是$m \\times n$。\n- 西边的地是$k \\times n$。"),
    # --- options held against one another
    "quoted": ("Which is the funny edit? (A) ice mage (B) ice sage",
        "Let us see.\n\n(A) \"ice mage\": a new word that means a wizard.\n"
        "(B) \"ice sage\": a herb, and less funny than \"ice mage\"."),
    "quoted-list": ("Compare the names.", "- \"Blue Harbour\": calm and clear.\n"
        "- \"Old Quay\": not as calm as \"Blue Harbour\" sounds."),
    "quoted-cn": ("比较两本书。", "1. 《红山》：写山里的人。\n2. 《白水》：比《红山》更长。"),
    # --- rounds by index, and what is left of a thing
    "index": (LOOP, "1. `i = 0` → append `4`\n2. `i = 1` → append `7`\n3. `i = 2` → append `9`"),
    "index-text": (LOOP, "- idx = 3: add 8 to the bag\n- idx = 4: add 9 to the bag"),
    "index-for": (LOOP,
        "1. For `char = 'a'`, the count grows.\n2. For `char = 'b'`, the count stays."),
    "last-removed": (LOOP, "- The call of strip changes nothing in it.\n"
        "- The last character is removed, which gives the answer."),
    "first-moved": (LOOP, "- The bag is turned round.\n- The first element is moved to the end."),
    "spaces-cut": (LOOP,
        "- All letters are made small.\n- The trailing spaces are stripped from it."),
    "repeatedly": ("Find the next one.", "The row grows by repeatedly adding a larger step:\n\n"
        "- B stands for 2 and leads to D.\n- D stands for 4 and leads to H."),
    "successively": ("Shorten the word.", "It is shortened successively:\n\n"
        "- The vowels go out of it.\n- The doubled letters go out of it."),
    "repeatedly-cn": ("化简。", "我们反复使用这个规则：\n\n- 红色变成蓝色。\n- 蓝色变成绿色。"),
    # --- what would have to hold next
    "would-need": ("Can a crab read?", "First, a crab would need to see the page.\n"
        "Second, it would need to know the letters on it."),
    "would-have": ("Could a duke own the moon?", "First, he would have to reach the moon.\n"
        "Second, he would also have to find a seller.\nThird, the law would need to let him."),
    "would-named": ("Could a hen make a famous egg?",
        "First, she would need to lay an egg called Tam.\n"
        "Second, Tam would need to be known in town."),
    # --- places of one day; sections of one report
    "day": (TRIP, "- Morning: Drive to the village of Selfoss and walk.\n"
        "- Afternoon: Swim in the pool of Selfoss.\n- Evening: Come back."),
    "day-lunch": (TRIP, "- Lunch: Eat at a farm near Geysir.\n- Afternoon: See more at Geysir."),
    "day-noon": (TRIP,
        "- Breakfast: Eat at the harbour of Husavik.\n- Noon: Leave Husavik by boat."),
    "report": ("Design a project.", "Methodology:\nWe ask people on the street.\n\n"
        "Deliverables:\nA poster and a talk on it.\n\nTimeline:\nWeek 4: print the poster."),
    "report-garden": ("Write a report on the garden.",
        "Methods:\nWe dug the beds over and wrote down what grew.\n\n"
        "Budget:\nMore beans grew than in the year of the rain.\n\n"
        "Timeline:\nThe school keeps the beds and digs deeper."),
    "report-cn": ("写一篇工作总结。",
        "### 重点工作\n我们修了屋顶。\n\n### 问题与改进\n钱不够，下次早些修。\n\n"
        "### 未来的计划\n把剩下的修完。"),
    # --- requests are no titles
    "now-run-cn": ("写一个脚本。", "1. 首先，请把工具放在机器上：\n\n`get tool`\n\n"
        "2. 现在您可以用它了：\n\n`tool go`"),
    "then-run-cn": ("写一个脚本。", "1. 请写好文件：\n\n`a.txt`\n\n2. 然后请看结果：\n\n`b.txt`"),
    "after-cn": ("写一个脚本。", "1. 请打开窗口：\n\n`open`\n\n2. 随后你可以离开：\n\n`close`"),
}  # fmt: skip

INDEPENDENT = {
    "factor": (ARGUMENT, "Case 1: b is red. Thus, $55r = \\frac{11a}{q}$, which fails at once.\n\n"
        "Case 2: b is blue, and 11 does not divide it, which fails as well here."),
    "written-out": ("Boxes have a mean of two pounds, books of two pounds, too.",
        "We are given:\n\n- Mean of boxes, $s_X = 2$ pounds\n- Mean of books, $s_P = 2$ pounds"),
    "own-case": (ARGUMENT, "Case 1: Both rows are full, so order alone matters.\n\n"
        "Case 2: One row is empty, so we look at colours."),
    "own-size": ("List the words.", "- A word of length 1 is a single vowel.\n"
        "- A word of length 2 is a vowel with a consonant."),
    "letters-apart": ("Find the area.",
        "Let's denote the sides:\n\n- Field P is $p \\times q$ large.\n"
        "- Field R is $r \\times s$ large."),
    "days-apart": (TRIP, "- Morning: Drive to the village of Selfoss and walk.\n"
        "- Afternoon: Swim in the pool of Hveragerdi."),
    "facts": ("Could a crab read?", "First, crabs see the world in two colours.\n"
        "Second, nobody ever taught a crab any letters."),
}  # fmt: skip


@pytest.fixture(autouse=True)
def any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdata.rules.rewriter.saves_passes", lambda block: True)


@pytest.mark.parametrize("kind", DEPENDENT)
def test_stays_linear(kind: str) -> None:
    prompt, text = DEPENDENT[kind]
    result = rewrite(f"{text}\n\nThat is all.", prompt)
    assert result.reason == "dependent steps", (result.reason, result.trace)


@pytest.mark.parametrize("kind", INDEPENDENT)
def test_forks(kind: str) -> None:
    prompt, text = INDEPENDENT[kind]
    result = rewrite(f"{text}\n\nThat is all.", prompt)
    assert not result.reason, (result.reason, result.detail)


@pytest.mark.parametrize(
    "sides", ["\\binom{6}{2} = 15", "{6 \\choose 2} = 15", "5! - 105 = 15", "60 ÷ 4 ≈ 15"]
)
def test_works_out(sides: str) -> None:
    assert "15" in worked_out(sides)
