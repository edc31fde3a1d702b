"""Steps that stand on what a sibling names, works out or leaves behind, in texts of our own; and
steps that look alike and fork."""

import pytest
from pdata.rules.dependence.number_trace import all_numbers, worked_out

from tests.support.forks import assert_forks, assert_linear

pytestmark = pytest.mark.usefixtures("any_length")

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
    # --- the work of a step before, as what a step opens with
    "processed": (LOOP, "1. Cut the text at its spaces:\n   - one\n   - two\n"
        "2. Put a star on every piece:\n   - one*\n   - two*\n"
        "3. Print the processed words with a dash."),
    "filtered": (LOOP, "- Odd numbers are thrown out.\n- Count the filtered numbers with len."),
    "processed-cn": (LOOP, "1. 每个词的后面多一颗星。\n2. 输出处理后的单词，中间有空格。"),
    "variable": (LOOP, "1. `m` starts as `[9, 4]`.\n"
        "2. The tail `4` is small, so it is given back."),
    "variable-set": (LOOP, "- The list `m` is initialized with two stars.\n- Its tail is printed."),
    "variable-cn": (LOOP, "1. 变量`m`初始化为两颗星。\n2. 末尾的星被打印。"),
    # --- a word that only the step before brings in, and this one explains
    "term": ("Is Ann heir to the duke?",
        'First, look at the definition of "heir". An heir must be a descendant of the duke.\n'
        'Second, look at the definition of "descendant". One has a forebear.'),
    "term-word": ("Is tea a drug?",
        '1. Here the term "drug" covers any substance with an effect.\n'
        '2. Here the term "substance" covers any kind of matter.'),
    "term-cn": ("这是诗吗？", "首先，看“诗”的定义：诗有韵律。\n其次，看“韵律”的定义：声音有规则。"),
    # --- "this" behind what counts a step
    "bare-this": ("Are owls like cats?",
        "First, let us say what we know of both. Owls hunt at night.\n"
        "Second, let us consider what this might mean. They may see well.\n"
        "Third, let us ask how this could shape their eyes. They are large."),
    "bare-this-subject": ("Can salt melt ice?", "First, salt goes into the water film.\n"
        "Second, this lowers the point of freezing."),
    "bare-this-cn": ("盐能化冰吗？", "首先，盐进入水膜。\n其次，这会降低冰点。"),
    # --- what an earlier part has found
    "already-know": ("(1) Find g. (2) Where is f above g?", "(1) It is flat: g is always 2.\n\n"
        "(2) We already know that g is flat, so f wins on the left."),
    "as-we-saw": (ARGUMENT, "Case 1: All are red, so they sit in a row.\n\n"
        "Case 2: One is blue. As we saw, a row has two ends."),
    "already-cn": ("（1）求g；（2）求a的范围。", "(1) 讨论可得g是常数。\n\n"
        "(2) 我们已经知道g是常数，所以a在左边。"),
    "analogously": (ARGUMENT, "Case 1: All are red, so two remain.\n\n"
        "Case 2: All are blue. Then analogously we see that three remain."),
    "same-argument": (ARGUMENT, "Case 1: All are red, so two remain.\n\n"
        "Case 2: All are blue. By the same argument three remain."),
    "again": (ARGUMENT, "Case 1: All are red.\n  Counting the ends, we see two.\n\n"
        "Case 2: All are blue. Again counting the ends, we see three."),
    "asks-back": ("(1) Name the two views. (2) Say where the above results come from.",
        "(1) One is calm, one is grim.\n\n(2) Calm comes with peace, grim with war."),
    "asks-back-cn": ("（1）说明两种看法。（2）说明上述看法的背景。",
        "(1) 一种乐观，一种悲观。\n\n(2) 乐观来自和平，悲观来自战争。"),
    "sought": ("In a triangle, (1) find B. (2) Find the area.",
        "(1) Half of it is a right angle's half.\n\n(2) The area is half of a c sin B here."),
    "constants": ("Let f(x) = x^2 + ax + b touch g. (1) Find a, b. (2) Where is f above g?",
        "(1) The touch gives both of them by the slope.\n\n(2) It is so on the left of g."),
    "constants-cn": ("已知f(x)=x^2+ax+b过原点。（1）求a，b的值；（2）求f的最小值。",
        "(1) 由条件可以求出它们。\n\n(2) 最小值在对称轴上。"),
    # --- steps of work on one thing
    "test-it": ("Set up an alarm for the disk.", "1. Connect the alarm to a channel.\n"
        "2. Test the alarm with a full disk.\n3. Verify the message in the channel."),
    "test-it-cn": ("写一份磁盘警报的手册。", "1. 将警报连接到频道。\n"
        "2. 通过写满磁盘来测试警报。\n3. 通过查看频道来验证消息。"),
    "deploy-cn": ("写一份网站的手册。", "1. 编译网站的代码。\n2. 使用脚本部署网站。\n"
        "3. 登录网站看首页。"),
    # --- slots of one time line
    "slots": ("When does each job end?", "1. 0-10 ms: the CPU runs P, Q waits\n"
        "2. 10-20 ms: the CPU still runs P, Q has the disk\n3. 20-40 ms: Q takes over the CPU"),
    "slots-cn": ("作业何时完成？", "1. 0-10ms：甲在运行\n2. 10-30ms：甲继续运行\n"
        "3. 30-40ms：乙在运行"),
    "ticks": ("When does each job end?", "- t = 0: red arrives and runs\n"
        "- t = 2: red continues, blue arrives\n- t = 3: blue runs"),
    # --- letters that an item says to stand for something
    "stands-for": ("Is this inference right?", "Symbols:\nP: rain falls\nQ: the road is wet\n\n"
        "Judgement:\nFrom P follows Q, so it is right."),
    "stands-for-let": ("Is this inference right?", "1. Let R be the claim on rain.\n"
        "2. The form holds, for R is on its own."),
    "stands-for-cn": ("判断推理。", "符号化：\nP：下雨\nQ：路湿\n\n判断：\n前提“若P，则Q”是对的。"),
    # --- set against a sibling by its version; what the siblings leave over
    "version": ("How fast is it?", "- Bus v1.2: one lane of copper\n- Bus v3.0: four lanes\n"
        "- Bus v4.0: similar to v3.0 but with less heat"),
    "version-cn": ("哪个快？",
        "- 红线 v1.2：单通道\n- 蓝线 v3.0：四通道\n- 绿线 v4.0：与v3.0相同，但更省电"),
    "all-other": ("Count the bonds.", "- Between M and N: a double one\n"
        "- All other bonds are single, so they count once."),
    "the-rest": ("Who sits where?", "- Ann sits by the door.\n- The rest sit by the window."),
    "rest-cn": ("谁坐哪里？", "- 安坐在门边。\n- 其余的人坐在窗边。"),
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
    "also-own": (ARGUMENT, "Case 1: b is red, and we find no way for it.\n\n"
        "Case 2: b is blue. A flat one is impossible. A round one is also impossible."),
    "last-year": ("Forecast the price of tea.", "Where:\n- Stock is the tea of this house.\n"
        "- Carryover is tea carried over from the previous year.\n- Crop is the tea of May."),
    "know-prompt": ("Say b is even. (1) Is b + 1 odd? (2) Is b prime?",
        "(1) The next one is odd.\n\n(2) We already know b is even, so it is mostly no prime."),
    "exponents": ("How does one find the area of a disc?",
        "1. **By radius**: S = πr^2 for a disc.\n2. **By rings**: S = 2π∫ r dr for a disc."),
    "spaced-term": ("Let f(x) = 3 x + |x - a|. (1) Solve f > 0 for a = 1. (2) Find a for f < 0.",
        "(1) Here 3x + |x - 1| is above zero.\n\n(2) Here 3x + |x - a| is below zero."),
    "point-letter": ("Point B is left of zero. Which is right?\n"
        "A: It is at five.\nB: It is at six.\n"
        "C: It is at ten.", "Option A: It is at five. This is wrong, for point B is left.\n"
        "Option B: It is at six. This is wrong, for point B is left.\n"
        "Option C: It is at ten. This is wrong, for point B is left."),
    "tips-on-how": ("Give some tips for a sudden frost.",
        "Here are some tips on how to change the plans with a sudden frost:\n\n"
        "1. Check the weather: Look for the coldest night.\n"
        "2. Pack warm things: A scarf takes no room.\n3. Check the road: Ice is on hills first."),
    "this-sentence-cn": ("指出这个句子里的错误：他的水平提高和改进了。",
        "1. 该句有两个谓语，用词多余。\n2. 该句缺少时间，显得突然。"),
    "own-constant": ("Let f(x) = |x - a|. (1) If f is even, find a. (2) Find f(0) if a = 5.",
        "(1) Both sides are alike.\n\n(2) With a = 5 it is 5."),
    "seen-in-life": ("Why do towns build dams?", "- Floods cost a lot, as we have seen in Ghent.\n"
        "- Fields need water in a dry summer."),
    "asked-online-cn": ("怎样了解顾客？", "- 在线上问顾客喜欢什么。\n- 在店里看顾客买什么。"),
    "ages": ("What do people read?", "- 0-10 years: they still read tales\n"
        "- 10-20 years: novels of school\n- 20-30 years: the news"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DEPENDENT)
def test_stays_linear(kind: str) -> None:
    assert_linear(*DEPENDENT[kind])


@pytest.mark.parametrize("kind", INDEPENDENT)
def test_forks(kind: str) -> None:
    assert_forks(*INDEPENDENT[kind])


def test_numbers_with_commas() -> None:
    assert all_numbers("1,2,3 and 1,500, 2,345.50") == ["1", "2", "3", "1500", "2345.5"]


@pytest.mark.parametrize(
    "sides", ["\\binom{6}{2} = 15", "{6 \\choose 2} = 15", "5! - 105 = 15", "60 ÷ 4 ≈ 15"]
)
def test_works_out(sides: str) -> None:
    assert "15" in worked_out(sides)
