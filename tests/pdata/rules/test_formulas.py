"""Formulas that one step works out and another one takes; parts of an exam."""

import pytest

from tests.support.forks import by_kind, trunk_forks

pytestmark = pytest.mark.usefixtures("any_length")

LINEAR = {
    "result in LaTeX": [
        ("Find the probability that both balls are red.",
         "- **First ball:** \\(P_1 = \\frac{5}{8}\\) as there are five red balls among the eight."
         "\n- **Second ball:** \\(P_2 = \\frac{4}{7}\\) as one of the red ones is gone by then.\n"
         "- **Both:** \\(P = \\frac{5}{8} \\cdot \\frac{4}{7} = \\frac{5}{14}\\) by the rule for "
         "products.\n\nSo \\boxed{\\frac{5}{14}}."),
        ("一项工程，甲单独做需10天，乙单独做需15天，合作几天完成？",
         "1. **甲的工作效率**：每天完成工程的 $\\frac{1}{10}$，这是由题意直接得到的。\n\n"
         "2. **乙的工作效率**：每天完成工程的 $\\frac{1}{15}$，同样由题意得到。\n\n"
         "3. **合作的效率**：$\\frac{1}{10}+\\frac{1}{15}=\\frac{1}{6}$，即每天完成六分之一。\n\n"
         "4. **所需的天数**：$1\\div\\frac{1}{6}=6$，所以需要六天。\n\n答：6天。"),
        ("Find the height of the triangle.",
         "1. **Half of the perimeter:** \\[ s = \\frac{13 + 14 + 15}{2} = 21 \\]\n\n"
         "2. **Area by Heron's formula:** \\[ A = \\sqrt{21 \\cdot 8 \\cdot 7 \\cdot 6} = 84 \\]"
         "\n\n3. **Height on the side of 14:** \\[ h = \\frac{2 \\cdot 84}{14} = 12 \\]\n\n"
         "It is 12."),
        ("How much of the cake is left?",
         "a) Anna eats \\( \\frac{1}{3} \\) of the cake on Monday, right after it has been baked."
         "\n\nb) On Tuesday Ben eats half of the remaining \\( \\frac{2}{3} \\), that is \\( "
         "\\frac{1}{3} \\) of the cake.\n\nc) What is left is \\( 1 - \\frac{1}{3} - "
         "\\frac{1}{3} = \\frac{1}{3} \\) of the cake.\n\nA third."),
    ],
    "part of an exam": [
        ("已知数列满足条件。（1）求通项公式；（2）求前n项和。",
         "（1）由递推关系，可以看出数列是等比数列，首项是二，公比也是二，因此通项公式为$a_n=2^n$"
         "。\n\n（2）由$a_n=2^n$，前n项和可以用等比数列的求和公式直接写出，结果为$2^{n+1}-2$。"),
        ("(1) Find the speed at the bottom. (2) Find how far it slides on the floor.",
         "(1) Energy is conserved on the smooth track, so $v=\\sqrt{2gh}$ holds at the bottom of "
         "it, whatever the mass of the block may be.\n\n(2) Friction takes all of the energy "
         "away again. From $v=\\sqrt{2gh}$ the way on the floor is the height over the "
         "coefficient of friction."),
        ("(1) How many moles are there? (2) What volume do they fill?",
         "(1) The molar mass of the gas is 44 grams, so that 11 grams of it are $n = "
         "\\frac{11}{44} = 0.25$ moles.\n\n(2) A mole fills 22.4 litres under these conditions, "
         "hence the volume is $0.25 \\cdot 22.4 = 5.6$ litres."),
        ("（1）求抛物线的解析式；（2）求点P的坐标。",
         "（1）把两点的坐标代入，解方程组，可得抛物线的解析式为$y=x^2-2x-3$。\n\n"
         "（2）设点P在抛物线$y=x^2-2x-3$上，由面积相等，可以求出点P的坐标为$(2,-3)$。"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("prompt", "text"), by_kind(LINEAR))
def test_stays_linear(prompt: str, text: str) -> None:
    assert trunk_forks(text, prompt) == []
