"""Chains of deductions, parts of an exam, equations that are written anew, runs of code and words
that echo a sibling, in texts of our own; and blocks that look alike and fork."""

import pytest
from pdata.rules.prompt import Prompt

from tests.support.forks import assert_forks, assert_linear

pytestmark = pytest.mark.usefixtures("any_length")

PROOF = "Show that the gate is shut."
EXAM = "The curve K is given. (1) Find its curvature. (2) Where does it meet the axis?"
EXAM_CN = "已知曲线K.\n(1) 求K的曲率;\n(2) 若K与轴相交, 求交点."
CODE = "What does it return?\n\ndef f(s):\n    ...\nassert f('ab c', 'b') == ??"
COUNT = "How many ways lead to the top?"
REPORT = "Write a work summary about the bakery, with an introduction, the work and the growth."
DEPENDENT = {
    # --- a value or an equation that an earlier part works out
    "value-cn": ("已知f(x)=x+k.\n(1) 何时相切;\n(2) 讨论零点.",
        "(1) 由切线的条件，解得k = -2，即为所求。\n\n(2) 当$k=-2$时，只有一个零点；否则没有。"),
    "value": (EXAM, "(1) Both sides agree, hence m=3 at last.\n\n(2) When $m = 3$, it is at rest."),
    "value-substituted": (EXAM, "(1) We obtain \\(p = 7\\) from it.\n\n"
        "(2) Substituting $p=7$ into the rest shows it."),
    "equation-cn": ("(1) 写出曲线的方程; (2) 求交点.", "(1) 消去参数，得$y = x - 5$。\n\n"
        "(2) 曲线的方程为y=x-5，与轴相交于一点。"),
    "equation": ("(1) Give the line. (2) Where does it end?", "(1) Two points give $y=2x+k$.\n\n"
        "(2) The line is y = 2x + k, so it has no end."),
    # --- a run of code, told step by step
    "run": (CODE, "1. Convert the text to a list of letters.\n2. The b is in the text.\n"
        "3. Remove it from the list.\n4. The rest is short."),
    "run-it": (CODE, "- It splits the text at the blank.\n- The first word is longer.\n"
        "- It returns the longer one."),
    "run-verbs": (CODE, "1. Strips the text of blanks.\n2. Nothing is at the front.\n"
        "3. Reverses what is there, which is all."),
    # --- what an earlier step is about
    "aforementioned": ("What does frost do?", "- **Farms**: Frost kills the blossoms of plums.\n"
        "- **Trade**: The aforementioned losses raise the price of jam."),
    "above-mentioned": ("What does frost do?", "- **Roads**: Frost breaks the asphalt open.\n"
        "- **Trade**: Because of the above-mentioned damage, lorries are late."),
    "mentioned-above": ("What does frost do?", "- **Roads**: Frost breaks the asphalt open.\n"
        "- **Trade**: The damage mentioned above makes lorries late."),
    # --- what is tried where the step before did not help
    "still": ("Ann does not answer. What now?", "- Write her a letter.\n"
        "- If she still does not answer, ring her up."),
    "does-not-help": ("The lamp is dark.", "- Tap the bulb.\n- If that doesn't help, buy a lamp."),
    "problem-persists": ("The lamp is dark.",
        "1. **Bulb**: Tap on it.\n2. **Shop**: If the problem persists, bring it there."),
    "failing-that": ("The lamp is dark.", "- Tap the bulb.\n- Failing that, light a candle."),
    "still-cn": ("朋友没有来怎么办？",
        "1. 第一，我会给他打电话。\n2. 第二，如果他仍然没有来，我会去他家。"),
    "no-use-cn": ("灯不亮怎么办？", "- 换一个灯泡。\n- 如果这样还是不行，就请师傅来。"),
    # --- a result beside that of a sibling
    "also-totalling": (COUNT, "- By the stairs there are halls, totaling 14 floors.\n"
        "- By the ramp there are doors, also totaling 14 floors."),
    "as-well": (COUNT, "- The ramp gives 14 floors.\n- The stairs give 14 floors as well."),
    "the-same": (COUNT, "- The ramp gives 14 floors.\n- The stairs give the same result."),
    "also-cn": (COUNT, "- 走楼梯，一共是14层。\n- 走坡道，算下来也是14层。"),
    # --- the work of a sibling with things the other way round
    "swapping": (COUNT, "1. **Up and down**:\n   - The stairs lead to a hall.\n"
        "2. **Down and up**:\n   - Similarly, by swapping the roles, there is a cellar."),
    "symmetry": (COUNT, "- The left door opens.\n- By symmetry, the right one does."),
    "additional": (COUNT, "1. **Ramp**: it yields two ways.\n2. **Stairs**: it yields two "
        "additional ways.\n3. **Lift**: it is shut."),
    # --- a word that only a sibling has said
    "again": ("Which tree is it?",
        "Option A is a lime, maybe.\n\nOption B is a lime again? Odd.\n\n"
        "Option C is a plum."),
    "again-cn": ("这是什么树？", "- 甲图画的是椴树。\n- 乙图画的又是椴树？很奇怪。"),
    "again-first": ("Which is it?", "- The left one is a lime.\n- The right one, again lime? No."),
    # --- the outcomes of a sibling's table
    "table": ("Make up a town with dice.",
        "1. Kind:\n   1: Hamlet\n   2: Market town\n   3: Port\n\n"
        "2. People: a few in a hamlet, more in a market town, most in a port.\n\n"
        "3. Folk:\n   1: Kind\n   2: Shy"),
    "table-bullets": ("Make up a town with dice.", "1. **Kind**\n   1-2: Hamlet\n   3-4: Abbey\n"
        "   5-6: Port\n2. **Gold**\n   - Hamlets have none, abbeys some, ports a lot."),
    "table-cn": ("用骰子造一座城。", "1. 类型：\n   1：村庄\n   2：市镇\n   3：港口\n"
        "2. 人口：村庄很少，市镇较多，港口最多。"),
    # --- sections of what someone writes of their own work
    "report": (REPORT, "Title: Summary\n\n## Introduction\n\nI bake and I sell.\n\n## Work\n\n"
        "My bread won a prize.\n\n## Growth\n\nI learnt to sell it."),
    "report-cn": ("请写一篇工作总结。", "标题：总结\n\n1、引言\n\n我负责面包和销售。\n\n"
        "2、工作内容\n\n我的面包得了奖。\n\n3、个人成长\n\n我学会了卖它。"),
    "report-letter": ("Write a cover letter in sections.", "**Background**: I bake.\n\n"
        "**Skills**: My bread won a prize.\n\n**Aims**: I want a shop."),
    # --- "those X" behind what counts the step
    "those": ("Is rye in the bread?", "First, what is in it? The baker lists wheat and oats.\n"
        "Second, is rye one of those cereals? No, it is another one."),
    "these": ("Can Kim walk there?", "First, the shops lie in the old town and by the river.\n"
        "Second, do these districts have paths? They do."),
    "those-cn": ("面包里有黑麦吗？", "首先，师傅说用了小麦和燕麦。\n"
        "其次，这些谷物里没有黑麦。"),
    # --- deductions
    "infer": (PROOF, "1. From clauses 1 and 4, we can infer: Guard(a) or Shut(b)\n"
        "2. From clauses 2 and 5, we can infer: Guard(b) and Night(b)\n"
        "3. From clauses 3 and 2, we can infer: Shut(a)"),
    "it-follows": (PROOF, "- By the first premise and the rule of the house, it follows that "
        "a guard is on duty.\n- From the second premise and the hour we get that he is awake."),
    "resolving": (PROOF, "1. Resolving (a) with (d) leaves Night or Shut.\n"
        "2. Resolving (b) with (c) leaves Shut alone."),
    "infer-cn": ("证明门是关的。", "- 由条件甲和条件丙，可以推出卫兵在岗。\n"
        "- 由条件乙和条件丁，可以推出大门紧闭。"),
    # --- what only an earlier part asks for
    "by-the": (EXAM, "(1) It bends by a half everywhere.\n\n"
        "(2) By its curvature the curve comes back, so it is met twice."),
    "because-cn": (EXAM_CN, "(1) 处处弯一半。\n\n(2) 由于K的曲率，曲线回到原处，所以有两个交点。"),
    "symbol": ("A box holds balls.\n(1) Find the distribution of the number X of red ones.\n"
        "(2) What does a player win?", "(1) Each of them is as likely as the other.\n\n"
        "(2) The player wins as many coins as X says, thus a half."),
    "cosine": ("In a triangle all angles are sharp.\n(1) Find $\\cos B$.\n(2) Find the side b.",
        "(1) It is a half by the law of sines.\n\n(2) $b^2 = a^2 + c^2 - 2ac\\cos{B}$ tells it."),
    "as-of-1": (EXAM_CN, "(1) 处处弯一半。\n\n(2) 因为(1)，曲线回到原处，所以有两个交点。"),
    # --- an equation that is written anew
    "anew": ("Write $r = 4a \\csc t$ with x and y.",
        "1. By the sine it says $r = 4a/\\sin t$ now.\n"
        "2. The sine is y over r, so $r = 4ar/y$ as well.\n3. What is left is $y = 4a$."),
    "anew-display": ("Where is $v = gt$ largest?", "1. Time by way:\n\\[ v = \\frac{gs}{v} \\]\n"
        "2. Path by height:\n\\[ v = \\frac{g h}{v k} \\]"),
    "anew-cn": ("化简$p = mn$。",
        "1. 用m的定义，$p = (u+w)n$成立。\n2. 展开以后，$p = un+wn$成立。"),
    # --- a figure, and what its kind measures
    "triangle": ("Which share has Q?", "- The region Q is a right triangle with short legs.\n"
        "- The area of a right triangle is half of a box, which is 8 for Q."),
    "cone": ("How much sand is it?", "- The heap forms a flat cone on the ground.\n"
        "- The volume of a flat cone is a third of its box."),
    "circle-cn": ("花坛有多大？",
        "- 花坛是一个椭圆，边上有石头。\n- 椭圆的面积是两个半轴之积乘以π。"),
}  # fmt: skip

ADVICE_CN = "开门时客户很尴尬，怎么办？"
INDEPENDENT = {
    # --- values that the prompt gives, or that each part has for itself
    "value-given": ("Let m = 3 first. (1) Is it even? (2) Is it at rest?",
        "(1) It is odd, and m = 3 holds.\n\n(2) When m = 3, it is at rest."),
    "two-values": (EXAM, "- When m = 3, it is at rest.\n- When m = 4, it falls."),
    "own-equation": ("Give two lines.", "- One slope gives $y=x-k$, far off.\n"
        "- The other one yields a line, so $y=x-k$."),
    # --- code, each step about an input or a case of its own
    "inputs": (CODE, "- `'ab'` has no blank, so it stays.\n- `'c'` has no blank, so it stays."),
    "one-act": (CODE, "- Removing the blank leaves `'abc'`.\n- Removing the first leaves `'b c'`."),
    "code-advice": ("Review my code:\n\ndef f(s): ...", "Some tips:\n\n- Names could be longer.\n"
        "- Tests are missing."),
    # --- conditions that are no failure of a sibling
    "if-not": ("The lamp is dark.",
        "Some reasons:\n\n- If it is not plugged in, there is no light.\n"
        "- If the bulb is old, it may be broken."),
    "also-own": (COUNT, "- A shed has 3 doors, and it also has 2 roofs.\n"
        "- A barn has 5 doors, and it also has 4 roofs."),
    "additional-own": (COUNT,
        "- **Ramp**: it has an additional door.\n- **Lift**: it has a mirror."),
    "again-act": ("What helps?", "- Rest, then try the lime again.\n- Drink, then sing again!"),
    "tables": ("Make up a town.", "1. Kind:\n   1: Small\n   2: Large\n   3: Huge\n"
        "2. Gold:\n   1: Small\n   2: Large\n   3: Huge"),
    "own-report": ("Write about trees.", "## Introduction\n\nOaks are old.\n\n"
        "## Elms\n\nThey are wide.\n\n## Limes\n\nBees like them."),
    "those-known": ("Are rye and oats cereals that grow here?",
        "First, rye grows on sand and in the cold.\n"
        "Second, do those cereals like rain? Oats do."),
    "sums": ("What do they have?", "- From Ann and Bo, we get five red apples.\n"
        "- From Cy and Di, we get seven green pears."),
    "calculations": ("Add them up.", "- From 3 + 4 we get 7, and with 9 we get 16.\n"
        "- From 2 + 5 we have 7, and with 8 we get 15."),
    "by-own": (EXAM, "(1) It bends by a half everywhere.\n\n"
        "(2) By its equation the curve comes back, so it is met twice."),
    "own-cn": (EXAM_CN, "(1) 处处弯一半。\n\n(2) 由于K与轴相交，曲线回到原处，所以有两个交点。"),
    "own-symbol": ("A box holds balls.\n(1) Find the distribution of the number X of red ones.\n"
        "(2) What does a player win?", "(1) Each of them is as likely as the other.\n\n"
        "(2) Let X be the gain of a player, thus a half."),
    "of-a-kind-cn": ("求周长。", "- 红线是三角形的高，长为二。\n- 蓝色三角形的周长为九。"),
    "parts": ("Solve $r = 4a/b$. (I I) Find a. (II ) Find b.",
        "(1) By the sine $r = 4a/t$ holds.\n\n(2) By the table $r = 4s/b$ holds."),
    "cases": ("Find $r = |a|$.", "1. If a is positive, $r = a - b$ holds.\n"
        "2. If a is negative, $r = b - a$ holds."),
    "values": ("Find $r = 4a$.", "1. The first row has a = 2 and so $r = 4(2)$ there.\n"
        "2. The second row has a = 3 and so $r = 4(3)$ there."),
    "figures": ("Which share has Q?", "- The region Q is a right triangle with short legs.\n"
        "- The area of a flat box is what its two sides make."),
    # --- what the prompt or the lead has binds nothing
    "both-words": ("What does it say?", "The correlation between them is positive.\n\n"
        "- Option P claims a positive correlation of other things.\n"
        "- Option R goes with the positive correlation."),
    "just-now-cn": (ADVICE_CN, "1. 道歉：说一声对不起，然后离开。\n"
        "2. 换话题：谈谈别的，忘记刚才的尴尬。"),
    "subscript": ("(1) Find $\\rho_{0}$. (2) Find the path of M, at most $\\rho_{0}$ away.",
        "(1) The ray gives $\\rho_0 = 7$ by the table.\n\n"
        "(2) Here $\\rho_0$ is the bound, and the path is a ring."),
    "factor-of-sine": ("(1) Find the angle. (2) Find b.",
        "(1) We have $\\cos B = 4 \\sin B$, so it is small.\n\n"
        "(2) The product of a and c is 4 or more, so b is long."),
    # --- surveys that only sound like procedures
    "and-stages-cn": ("讲讲搜索公司。", "以下是一些公司及其发展阶段：\n\n"
        "1. 东方公司：成立于北京，后来搬家。\n2. 西方公司：卖过唱片，现在卖地图。"),
    "and-their-stages": ("Tell me of mills.", "Here are two mills and their main stages:\n\n"
        "1. Upper mill: built of oak by a monk.\n2. Lower mill: burnt down in a war."),
    "came-to": ("Why do we drink tea?", "Here is how people came to love it:\n\n"
        "1. Old China: a leaf fell into the cup of a king.\n2. Sea trade: ships sold it in ports."),
}  # fmt: skip


@pytest.mark.parametrize("kind", DEPENDENT)
def test_stays_linear(kind: str) -> None:
    assert_linear(*DEPENDENT[kind])


@pytest.mark.parametrize("kind", INDEPENDENT)
def test_forks(kind: str) -> None:
    assert_forks(*INDEPENDENT[kind])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Let f(1) = 2. (1) Find f(2). (2) Find f(3).", ["(1) Find f(2). ", "(2) Find f(3)."]),
        ("（Ⅰ）求a；（Ⅱ）求b。", ["（Ⅰ）求a；", "（Ⅱ）求b。"]),
        ("(12 points) Find a (b).", []),
    ],
)
def test_parts_of_a_question(text: str, parts: list[str]) -> None:
    assert Prompt(text).parts[1:] == parts
