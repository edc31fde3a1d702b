"""Chains of deductions, parts of an exam and equations that are written anew, in texts of our own;
and blocks that look alike and fork."""

import pytest
from pdata.rules.prompt import Prompt
from pdata.rules.rewriter import rewrite

PROOF = "Show that the gate is shut."
EXAM = "The curve K is given. (1) Find its curvature. (2) Where does it meet the axis?"
EXAM_CN = "已知曲线K.\n(1) 求K的曲率;\n(2) 若K与轴相交, 求交点."
DEPENDENT = {
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
    ("text", "parts"),
    [
        ("Let f(1) = 2. (1) Find f(2). (2) Find f(3).", ["(1) Find f(2). ", "(2) Find f(3)."]),
        ("（Ⅰ）求a；（Ⅱ）求b。", ["（Ⅰ）求a；", "（Ⅱ）求b。"]),
        ("(12 points) Find a (b).", []),
    ],
)
def test_parts_of_a_question(text: str, parts: list[str]) -> None:
    assert Prompt(text).parts[1:] == parts
