"""Kinds of dependence that real traces show, in texts of our own: blocks that stay linear."""

import pytest
from pdata.rules.rewriter import rewrite

from tests.support.forks import list_of

pytestmark = pytest.mark.usefixtures("any_length")


DEPENDENT = {
    # --- verdicts and looks that one before comes ahead of
    "also-correct": ("Which holds? ① A fox swims. ② A hare swims.", list_of(
        "① A fox swims: this statement is true, as many have seen it.",
        "② A hare swims: this is also true, as it does so in floods.", form="{s}")),
    "also-correct-cn": ("下列正确的是①狐狸会游泳②兔子会游泳", list_of(
        "①狐狸会游泳：这个选项是正确的，很多人见过。",
        "②兔子会游泳：这个选项也是正确的，洪水来时它会游。", form="{s}")),
    "again": ("Which of them is a bird? A: bat B: moth C: wren", list_of(
        "Option A: a bat. It has fur and no feathers at all.",
        "Option B: a moth. Again, no feathers are to be seen.", form="{s}")),
    "also-title": ("Compare oak and ash.", list_of(
        "**Oak**: Grows slowly and lives long.", "**Ash**: Also grows slowly in the shade.",
        form="- {s}")),
    "other": ("哪些动物会飞？", list_of(
        "鸟类：麻雀和燕子等鸟类都会飞。", "昆虫：其他会飞的动物还有蜜蜂和蝴蝶等。")),
    "already": ("Is 12 abundant? Is 12 even?", list_of(
        "The divisors of it are small, and their sum is larger than it is.",
        "It is even, as we have already found a divisor of that kind.", form="({i}) {s}")),
    "already-cn": ("（1）证明甲；（2）证明乙。", list_of(
        "由题意，两条直线互相平行，所以甲成立。", "我们已经证明了甲，因此只要看乙。",
        form="({i}) {s}")),
    "if-so": ("May she sell it?", list_of(
        "Does the shop belong to her alone?", "If so, does the law let her sell it?")),
    "then-joined": ("What is left?", list_of(
        "The letters are put into a row of boxes.", "The row is then closed with a lid.",
        form="- {s}")),
    "roots": ("Find x.", list_of(
        "The formula gives us two candidates for it.", "The roots are x = 3 and x = 8.",
        form="- {s}")),
    "deduced-cn": ("证明：有些鸟不会飞。", list_of(
        "将甲写成标准的形式。", "将乙写成标准的形式。", "从甲和乙归结出：有些鸟不会飞。")),
    "taken-up": ("How does the mill work?", list_of(
        "**Wheel**: It turns and hands on a flow of coarse flour.",
        "**Sieve**: It lets a set of fine grains fall.",
        "**Sack**: The fine grains are caught in it.")),
    # --- plans and derivations
    "plan": ("Could a goat row a boat?", list_of(
        "First, we need to find out how strong a goat is.",
        "Second, we need to see what rowing asks for.",
        "Third, we need to compare what we have found.", form="{s}")),
    "plan-acts": ("What is the new mean?", list_of(
        "First, we add 4 to all the values.", "Second, we double every value.",
        "Third, we take the mean of what is there.", form="{s}")),
    "plan-cn": ("求概率。", list_of(
        "首先，我们需要求出总的天数。", "最后，我们需要用每个天数除以它。", form="{s}")),
    "both-sides": ("Which x satisfy it?", list_of(
        "The inequality says that 9 - x is above -2.",
        "To isolate the unknown, subtract 9 from both sides of it.")),
    "why": ("why is snow white?", "Here is a detailed explanation:\n\n" + list_of(
        "**Crystals**: Snow is made of many small crystals.",
        "**Light**: Light that enters is turned at each face.",
        "**Eye**: All colours come back, therefore we see white.")),
    "clicks-cn": ("如何把照片放进相册", list_of(
        "单击左上角的箭头。", "从列表中选择“照片”。", "找到照片并将其拖放到相册中。",
        form="- {s}")),
    # --- states
    "before-after": ("What is left?", list_of(
        "Boxes before opening: red, blue, green.", "Opened box: red.",
        "Boxes after opening: blue, green.", form="- {s}")),
    "call": ("What does f return?", list_of(
        "`t[0]` is 'k', which is a letter.", "`t[1]` is 'z', which is a letter too.",
        "Recursive call with the rest of it.", form="- {s}")),
    "in-a-round": ("What does the loop leave?", "**Second iteration:**\n" + list_of(
        "The letter k is looked at.", "The letter goes into the box.", form="- {s}")),
    "in-an-index": ("What does the loop leave?", "- **For i = 2**:\n" + list_of(
        "The letter k is looked at.", "The letter goes into the box.", form="- {s}")),
    "both-of-them": ("Write a quiz on fish.", "Which of them swim?\n" + list_of(
        "a) Pike", "b) Trout", "c) Both a and b", form="{s}")),
    "count": ("How many differ?", list_of(
        "(0, 1): they differ (count = 1)", "(0, 2): they differ (count = 2)",
        "(1, 2): they differ (count = 3)", form="- {s}")),
    "grows-in-front": ("What is left of it?", list_of(
        "i=0: ['k', 'k', 'z']", "i=1: ['k', 'm', 'k', 'z']", "i=2: ['p', 'k', 'm', 'k', 'z']",
        form="- {s}")),
    "converts": ("How far is it?", list_of(
        "**Orbit**: The path is a ring around the hill.",
        "**Width**: The ring is as wide as a road.",
        "**Convert to miles**: One of them is a mile and a half long.")),
    "interval": ("（1）求M；（2）证明乙。", list_of(
        "分三种情况去掉绝对值，得到 $M=(-1/2,1/2]\\cup(1/2,1)$。",
        "因为 $M=(-1/2,1/2]\\cup(1/2,1)$，分四种情况。", form="({i}) {s}")),
    "updated": ("What is left?", list_of(
        "It takes the key 8 out of it.", "It puts 5 at the front of the updated list.",
        form="- {s}")),
    "iteration": ("Triple 4 and add 2, ten times over.", list_of(
        "(4 x 3) + 2 = 14", "(14 x 3) + 2 = 44", "(44 x 3) + 2 = 134", form="Step {i}: {s}")),
    # --- references by number
    "from-1": ("Is the gate open?", list_of(
        "The guard left at noon, as the first note says.",
        "By the second note the gate is shut when a guard is there; from (1) nobody was.",
        form="({i}) {s}")),
    "in-step-1": ("Restore my files.", list_of(
        "Look for the newest copy of your disk in the drawer.",
        "Connect that copy with the name that you have noted in step 1 and wait.")),
    "both-parts": ("(a) Find m. (b) Show that m is odd.", list_of(
        "The sum of all the roots is what remains on the left side here.",
        "It is odd by part 1, and no other value would fit the sign.", form="{i}) {s}")),
    "cn-from-1": ("（1）求m；（2）证明n是奇数。", list_of(
        "设直线与圆相切，那么圆心到直线的距离等于半径，于是得到m的取值。",
        "由(1)可知，直线与圆只有一个公共点，这一点的横坐标是奇数。", form="({i}) {s}")),
    "cn-circled": ("解方程组。", list_of(
        "把第一个方程的两边都乘以某个数，整理以后得到新的方程①。",
        "把第二个方程移项，再将①代入，整理以后就得到了所求的未知数。", form="（{i}）{s}")),
    # --- what only a sibling explains
    "this-noun": ("Where are the birds at night?", list_of(
        "The flock leaves the coast in autumn and flies far inland.",
        "Most hunters wait for them beside this resting place.", form="- {s}")),
    "their-number": ("Invent a quiz.", list_of(
        "The host reads a riddle aloud to the room.",
        "A team may ask 4 questions before it has to answer.",
        "A team that solves it with their 4 questions gets a coin.")),
    "the-number": ("Invent a card game.", list_of(
        "Deal 7 cards face down in front of every player.",
        "A player turns the 7 cards over one by one.")),
    "participle": ("A dish of roots?", list_of(
        "Two carrots are grated over a plate, coarse as they come out.",
        "A lemon gives its juice to the grated carrots.")),
    "pronoun": ("Tell me of the north.", list_of(
        "Reindeer live there in large herds that cross the rivers.",
        "They feed on lichen which grows below the snow.", form="- {s}")),
    "cn-this": ("分析这段话。", list_of(
        "作者先写了一个小镇的早晨，街上已经有了卖菜的人。",
        "这些描写说明小镇的生活平静而又忙碌，让人向往。")),
    # --- phrases that point, where the prompt has only one word of them
    "previous-case": ("Count walks that avoid previously seen rooms.", list_of(
        "With one door there is a single walk through the house.",
        "With two doors we count as in the previous case and get more.", form="- {s}")),
    "earlier-result": ("Earlier this year I bought shares. Explain.", list_of(
        "The shares paid a small amount to every owner in spring.",
        "With the earlier result we see that an owner loses nothing.")),
    "so-far": ("How far is so far away?", list_of(
        "The boat needs a whole day to the first island there.",
        "What it has used up to now is half of its fuel.")),
    # --- deductions
    "since": ("Which way did he look?", list_of(
        "In the morning a shadow falls to the west of a tree.",
        "Since the shadow fell to his left, he looked to the north.")),
    "as-a-result": ("What happened to the lake?", list_of(
        "The farmers took more water out of the river each year.",
        "As a result, the lake fell dry and the fish died.", form="- {s}")),
    "combining": ("Who sits left?", list_of(
        "Ada sits to the left of Ben on the long bench.", "Cleo sits at the right end of it.",
        "Combining both we know that Ada sits on the left.", form="({i}) {s}")),
    # --- formulas
    "fraction": ("How long does it take both?", list_of(
        "**Rate of the old pump:**\n   \\[\\frac{1}{6} + \\frac{1}{12} = \\frac{3}{12}\\]",
        "**Rate of the new pump:**\n   \\[\\frac{2}{9} + \\frac{1}{9} = \\frac{3}{9}\\]",
        "**Sum:**\n   \\[\\frac{3}{12} + \\frac{3}{9} > \\frac{1}{2}\\]", glue="\n\n")),
    "function": ("(1) Find g. (2) Where is g flat?", list_of(
        "The given line touches the curve, so that only $g(x)=x^{3}-3x$ is left.",
        "The curve $g(x)=x^{3}-3x$ is flat where its slope is nought.", form="({i}) {s}")),
    "power": ("Expand it.", list_of(
        "The inner bracket: $(a+b)(a+b) = a^2+2ab+b^2$ as is well known.",
        "The outer bracket: three times $a^2+2ab+b^2$ is what we look for.")),
    # --- parts of a proof
    "lemma": ("Show that all are even.", "Lemma 1. No odd one is red.\n\nProof. It is blue.\n\n"
              "Lemma 2. No even one is blue.\n\nProof. It would be red.\n\nThis ends it."),
    "claim": ("Show it.", "Claim 1: the set is not empty at all.\nClaim 2: the set has a least "
              "element, and this is what we want.\nDone."),
    "theorem": ("Prove both.", "Theorem A. Every path has an end, or it goes on for ever.\n\n"
                "Theorem B. Every tree has a leaf, as its longest path shows.\n\nThis ends it."),
    # --- procedures
    "guide": ("Give a step by step guide to set up a wiki.", list_of(
        "Choose a place: Pick a folder of your computer for the pages.",
        "Start the server: Open a terminal there and call the wiki.",
        "Write a page: Click the pen in the browser and type a text.")),
    "recipe": ("I am hungry.", "Ingredients:\n\nFour eggs of a farm, some butter and salt.\n\n"
               "Directions:\n\n1. Melt the butter in a wide pan.\n2. Beat the eggs with some salt."
               "\n\nServe hot."),
    "install": ("How do I install the editor?", list_of(
        "Download the archive from the page of the project.",
        "Unpack the archive into a folder of its own.", "Run the file that is called setup.")),
    "following-steps": ("Is the lamp broken?", "We go through the following steps:\n" + list_of(
        "**Power**: the cable is in the wall and has current.",
        "**Bulb**: a bulb from the kitchen shines in it.")),
    "code-told": ("What does f return?", "The function does this:\n" + list_of(
        "Splits the text into words at every blank.", "Sorts the words by their length.",
        "Returns the longest of them.", form="- {s}")),
    "cn-steps": ("怎么做蛋糕？", "制作步骤：\n" + list_of(
        "准备材料：面粉、鸡蛋和糖，放在桌子上面。", "搅拌：在碗里打散鸡蛋，慢慢地放糖。",
        "烘烤：放进烤箱里面，大约半个小时。")),
    "cn-stages": ("水泥是怎么来的？", "水泥的生产过程如下：\n\n" + list_of(
        "开采：从山里采出石灰石，运到工厂里面去。", "煅烧：在高温的窑里面烧成熟料，颜色发黑。",
        "粉磨：在磨机里面磨成很细的粉末。")),
    # --- state
    "rounds": ("What is printed?", list_of(
        "**First pass:** the pair at the front is in order, nothing is done.",
        "**Second pass:** the pair at the back is not, both change places.")),
    "array": ("What is left?", list_of(
        "**Sort it:** The list becomes `[1, 4]` by this.",
        "**Drop one:** The list becomes `[4]` by this.")),
    "variable": ("What is it in the end?", list_of(
        "The largest key is removed from `d`, whatever it is.",
        "What `d` holds now is copied to the other side.", form="- {s}")),
    "grows": ("What does the queue hold?", list_of(
        "3 is below 5, it goes to the queue: `[3]`", "9 is above 5, it is left out as it is",
        "4 is below 5, it goes to the queue: `[3, 4]`", form="- {s}")),
    "swaps": ("Who has the red hat?", list_of(
        "Ada and Ben swap places in the row, and all stand still again.",
        "Ben and Cleo swap places in the row, and all stand still again.", form="({i}) {s}")),
    "value": ("What does f give?", list_of(
        "Cutting the blanks off gives `'pearl'` as a text.",
        "The letters of `'pearl'` are turned around at last.", form="- {s}")),
    # --- talks and lines of thought
    "talk": ("Write a conversation of two cooks, Mia and Leo.", "Mia: Do you like my soup?\n"
             "Leo: I have had enough of it, and I thank you.\n\nThey laugh."),
    "interview": ("Nun fragt Rosa den Gast.", "Rosa: What did you see on your way?\n"
                  "Gast: I saw a bear and three of its cubs.\n\nEnd."),
    "cn-talk": ("写一段对话。人物：小明、小红。", "小明：你昨天去看的那部电影，好看吗？\n"
                "小红：我觉得很好看，你也应该去看。\n\n完。"),
    "persons": ("Write a dialogue.", "Person 1: Have you fed the cat today?\n"
                "Person 2: I have, but it wants more of the fish that you bought.\n\nEnd."),
    "story": ("Tell a short story of Mia and Leo.", "Mia found a key below the stairs.\n"
              "Leo ran to the chest, and it opened with a creak.\n\nThe end."),
    "initially": ("How full is the tank?", list_of(
        "Initially the tank holds all the water of the well.",
        "A pump takes half of the water out of the tank.", form="- {s}")),
    "explains": ("Write a query.", "### Query\n\nTake every row of the table of guests.\n\n"
                 "### Explanation\n\nEvery row stands for a guest who has paid."),
    "narration": ("Solve it.", "The first equation tells us that:\n\n$x + y = 4$\n\n"
                  "Now we can write it as:\n\n$y = 4 - x$\n\nThis is it."),
    "total": ("What does it cost?", list_of(
        "Paint: some tins at the price of the shop, as listed: 40",
        "Brushes: a set of three from the same shop: 25", "Total: all of it: 65", form="- {s}")),
}  # fmt: skip


@pytest.mark.parametrize("kind", DEPENDENT)
def test_stays_linear(kind: str) -> None:
    prompt, text = DEPENDENT[kind]
    result = rewrite(text, prompt)
    assert not list(result.trace.all_forks()), result.trace
