"""What steps share by chance binds nothing: numbers, names and words that come up twice, words of
the prompt, and pointers at what a step is itself about."""

import pytest
from pdata.rules.blocks.labels import Label
from pdata.rules.blocks.steps import Step
from pdata.rules.dependence.titles import split_title

from tests.support.forks import assert_forks, by_kind, list_of, trunk_forks

CHANCE = {
    "numbers": [
        ("Which pairs of 3, 5 and 8 add up to a prime?",
         "All pairs:\n\n1. (3, 3) does not, since 3 + 3 = 6 and that is an even number above two."
         "\n2. (3, 5) does not, since 3 + 5 = 8 and that is an even number above two.\n"
         "3. (3, 8) does, since 3 + 8 = 11 and that is a number without factors.\n"
         "4. (5, 8) does, since 5 + 8 = 13 and that is a number without factors.\n\n"
         "So two of them.", 4),
        ("三角形的边可以是2、3、4吗？",
         "所有的组合：\n\n1. (2, 2, 3)：因为2 + 2 = 4，大于3，所以可以组成三角形。\n"
         "2. (2, 2, 4)：因为2 + 2 = 4，不大于4，所以不能组成三角形。\n3. (2, 3, 4)：因为2 + 3 = 5"
         "，大于4，所以可以组成三角形。", 3),
        ("Compare three phones.",
         "1. The first phone has 6 GB of memory and a battery that lasts for 2 days of use.\n"
         "2. The second phone has 8 GB of memory and a battery that lasts for 1 day of use.\n"
         "3. The third phone has 6 GB of memory and a battery that lasts for 3 days of use.", 3),
    ],
    "words": [
        ("Classify a), b) and c): is demand changed?",
         "Each of them:\na) Wages in the town go up. People eat out more often, and this is a "
         "change in demand.\nb) The price of meals goes up. Guests order a dish less, and this "
         "is a change in quantity.\nc) A new bridge brings tourists. More guests want a table, "
         "which is a change in demand.\nThat is it.", 3),
        ("Which animals hibernate?",
         "- Bears sleep through the winter in caves, and they live on the fat of the autumn.\n"
         "- Hedgehogs sleep through the winter in heaps of leaves, and their hearts slow down.\n"
         "- Bats hang in caves all winter, and their bodies become as cold as the rock there.\n"
         "- Frogs dig themselves into the mud, and some of them freeze without any harm.", 4),
        ("Names of winds?",
         "- The mistral blows down the Rhone valley from the north, cold and dry, for days.\n"
         "- The sirocco blows from the desert to the north over the sea, hot and full of dust.\n"
         "- The bora falls from the mountains down to the sea, cold and in sudden gusts.", 3),
    ],
    "names": [
        ("Name three chocolate makers.",
         "Here are some:\n\n1. **Amano** - Run by a couple from Utah, it roasts Swiss and "
         "Belgian style chocolate.\n\n2. **Lauden** - Opened by Stephen Trigg, it fills its "
         "shells with Belgian cream and fruit.\n\n3. **Raaka** - Begun by Nate Hodge, it leaves "
         "the beans unroasted on purpose.", 3),
        ("介绍三位诗人",
         "1. **李白**：唐代诗人，曾在长安任职，喜欢饮酒，诗风豪放。\n2. **杜甫**：唐代诗人，曾在"
         "成都居住，关心百姓，诗风沉郁。\n3. **王维**：唐代诗人，也曾在长安任职，擅长山水诗和绘画"
         "。", 3),
        ("Battles of the war?",
         "- **Hastings**: William beat Harold on a hill and took the crown of England in winter."
         "\n- **Stamford Bridge**: Harold beat another king of that name in the north of England."
         "\n- **Fulford**: two earls were beaten near York and the town opened its gates.", 3),
    ],
    "this of a title": [
        ("Explain the options of tar.",
         "- `-x`: This option takes the files out of the archive and writes them to the disk.\n"
         "- `-z`: This option unpacks an archive which was packed with another program before.\n"
         "- `-f`: This option says that the name of the archive stands right behind it.", 3),
        ("解释这些词",
         "1. **内卷**：这个词指的是人们在有限的资源里过度竞争，付出越来越多。\n"
         "2. **躺平**：这个词指的是放弃过度的竞争，选择一种低欲望的生活。\n3. **破防**：这个词指"
         "的是心里的防线被突破，情绪一下子失去控制。", 3),
        ("Muscles?",
         "* Biceps – This muscle bends the arm at the elbow and turns the palm of the hand up.\n"
         "* Triceps – This muscle lies at the back of the arm and stretches it at the elbow.\n"
         "* Deltoid – This muscle covers the shoulder and lifts the arm away from the body.", 3),
    ],
    "then of a condition": [
        ("甲：如果下雨，那么比赛取消。乙：如果下雪，那么比赛推迟。丙：如果刮风，那么比赛照常。分"
         "别分析。",
         "甲：下雨会让场地变得很滑，运动员容易受伤，因此取消比赛是合理的。\n乙：下雪之后场地需要"
         "清扫，推迟几个小时就可以了，也是合理的。\n丙：刮风对室内的比赛没有影响，照常进行当然是"
         "合理的。", 3),
        ("Judge: (1) If n is odd, then n+1 is even. (2) If n is prime, then n is odd. (3) If n "
         "is a square, then n has an odd number of divisors.",
         "(1) The number after an odd one is always divisible by two, so this one is true.\n"
         "(2) Two is a prime number and it is even at the same time, so this one is false.\n"
         "(3) Divisors come in pairs but for the root of a square, so this one is true.", 3),
        ("A: Given that p, then q. B: Given not p, then r. Which is safer?",
         "A: It only needs p to hold, and that has been checked by two people this morning.\n"
         "B: It needs p to fail, which nobody has ever seen happen in all of these years.", 2),
    ],
}  # fmt: skip
INDEPENDENT = {
    # --- what comes up twice by chance
    "same-result": ("How many sets are there?", list_of(
        "Without 2 and 3: there are 8 · 8 = 64 of them.",
        "With 2, without 3: there are 4 · 16 = 64 of them.", form="Case {i}: {s}")),
    "digits-of-prompt": ("-3 < a < 1 and -2 < b < 4. How large is it?", list_of(
        "Both are positive: the area is (1 - 0)(4 - 0) = 4.",
        "Both are negative: b goes from -2 up to 0, and 4 is no bound.", form="Case {i}: {s}")),
    "conditions": ("How many points are there with |a| < 3?", list_of(
        "For a = 2: the number b goes from -5 to 5.", "For a = 3: the number b goes from -2 to 2.",
        form="- {s}")),
    "advice": ("Could you give me some advice on how to write well?", list_of(
        "**Read**: Books show how others do it.", "**Use Cards**: A card holds one word.",
        "**Find Friends**: They tell you what they think.")),
    "code-words": ("How do I read a base64 text?", list_of(
        "Python: `t = 'c2Vh8'` and then decode it with the library.",
        "Ruby: the method takes the text, 8 characters of it.")),
    "same-literal": ("How do I print a greeting?", list_of(
        "Python: `s = 'good morning'` is all you write ahead of it.",
        "Ruby: `s = 'good morning'` does it as well.")),
    "same-names": ("Who were the sons of Priamos?", list_of(
        "With his first wife he had two sons, Alkon and Dryas.",
        "With his second wife he had two sons, Alkon and Dryas.", form="- {s}")),
    "titles-of-books": ("Name three books.", list_of(
        "The Garden of Winter by Ann Lowe", "The Making of Bread by Jo Hill",
        "The Making of Winter Roads by Tom Reed")),
    "book-titles-cn": ("推荐两本书。", list_of(
        "《冬天的花园》(The Garden of Winter) - 安", "《冬天的路》(A Road in Winter) - 汤姆")),
    "having": ("Why keep a candle?", list_of(
        "**Light**: It gives some when the power fails.",
        "**Backup**: Having one is a prudent measure.")),
    "to-that": ("Solve it by cases.", list_of(
        "m = 2. The only solution to that is (2, 9).",
        "m = 1. The only solution to that is (4, 5).", form="Case {i}: {s}")),
    "common-word": ("What makes good characters?", "Here are some tips:\n\n" + list_of(
        "Give them quirks: every reader likes these.",
        "Show the links between characters: they add depth.",
        "Give a goal: strong characters want something.")),
    "checks": ("My pump gives no pressure.", "Follow these steps:\n\n" + list_of(
        "Check the oil: Too little of it gives no pressure.",
        "Inspect the filter: Dirt in it holds up the flow.",
        "Check the valve: One that is stuck lets it out.")),
    "directions": ("Why might one ask for directions?", "Reasons why people ask for directions:\n\n"
        + list_of("**Cost**: A map is not free.", "**Company**: Some people like a chat.")),
    "sides": ("Is a fox faster than a hare?", list_of(
        "First, let's consider the fox, which runs for an hour.",
        "Second, let's consider the hare, which runs for a minute.", form="{s}")),
    "list-words": ("What does the club stand for?", list_of(
        "With talks we tell people of birds and of their rights.",
        "With studies we move the town to better rules for woods and related areas.",
        "With related clubs we care for birds that are hurt, and we work abroad.",
        "We take part in work abroad and in the exchange of what is known.", form="- {s}")),
    # --- names and numbers that items share by chance
    "names": ("Which cafes are old?", list_of(
        "**Bruno** - Opened by Italian bakers, it is known for its bread.",
        "**Kolb** - Run by a family, it serves Italian coffee all day.",
        "**Stern** - A house of the old town with a garden.")),
    "years": ("What happened in Turin?", list_of(
        "**Bridge**: It was built in 1907 by engineers of the town.",
        "**Theatre**: It was closed in 1907 and never opened again.")),
    "tuples": ("Which triples of 3 and 6 work?", list_of(
        "(3, 3, 6) does not work, since 3 + 3 = 6 is not more.",
        "(3, 6, 6) works, since 3 + 6 = 9 is more.", "(6, 6, 9) works, since 6 + 6 = 12 is more.")),
    "proper-names": ("Why is it famous?", list_of(
        "**Art**: Painters such as Renoir stayed in the harbour for weeks.",
        "**Food**: The fish soup was praised by Renoir and many others.")),
    # --- words that items share
    "effects": ("Explain a), b) and c): does demand change?", "One by one:\n"
        "a) Rain spoils the fair. Few people buy ice, and this is a change in demand.\n"
        "b) The rent of halls goes up. Clubs raise the fee of dances, and this changes demand.\n"
        "c) The fee of a coach goes down. Schools travel more, and that is something else.\nDone."),
    "methods": ("Name methods of filtering.", list_of(
        "**Sand**: One method is sand, which can hold back what is coarse.",
        "**Charcoal**: Another method is charcoal, which can identify smells.",
        "**Paper**: Charcoal is dear; to identify dust, paper is enough.")),
    "drawers": ("What chests do I need?", list_of(
        "**Tool chest**: a chest for tools, with room for items of iron.",
        "**Toy chest**: a chest for toys, with room for items of cloth.",
        "**Tea chest**: a chest for tea, with room for items of tin.")),
    # --- openers that take up the title
    "this-title": ("Explain the settings.", list_of(
        "`MAX(4)`: This limit says how many may enter at once.",
        "`MIN(2)`: This limit says how few may stay inside.",
        "`OFF`: These letters say that nobody is counted.")),
    "these-title": ("What trees grow there?", list_of(
        "**Larches**: They lose their needles in the cold months.",
        "**Firs**: These trees keep their needles and stay green.")),
    "cn-title": ("介绍两座山。", list_of(
        "东山：山上有一座很老的庙，每天都有很多人。",
        "西山：这是城里最高的山，秋天的时候有红叶。")),
    # --- "then" of a condition; previous times
    "if-then": ("Which holds? P: If n is odd, then n is red. Q: If n is even, then n is blue.",
        "Let us see:\n\nP: No odd number was ever painted, so this one is false.\n"
        "Q: Every even number was painted in blue, so this one is true."),
    "when-then": ("A: When it rains, then I read. B: When it snows, then I ski. Compare.",
        "A: Reading needs only a lamp and a chair.\nB: Skiing needs a hill and a lot of snow."),
    "previous-times": ("Why is the duke remembered?", list_of(
        "**Laws**: He changed the taxes, which hurt the poor most of all.",
        "**Buildings**: He pulled down what previous dukes had left.",
        "**Art**: He loved the songs of earlier times and had them written down.")),
    # --- advice is no procedure
    "tips": ("How can I sleep better?", "Here are some tips:\n\n" + list_of(
        "Turn off the screens: Their light keeps people awake.",
        "Open a window: Fresh air cools the room at night.",
        "Drink less coffee: It stays in the blood for hours.")),
    "steps-you-can-take": ("How do we save water?", "There are steps you can take:\n\n" + list_of(
        "Repair dripping taps: They waste a bucket a day.",
        "Collect rain: A barrel is enough for the garden.")),
    "cn-tips": ("如何保护眼睛？", "以下是一些方法：\n\n" + list_of(
        "控制时间：不要长时间看屏幕，每小时要休息一下。",
        "保证睡眠：晚上早点睡觉，眼睛才能得到休息。")),
    # --- pronouns of the topic, options, equal results
    "topic": ("What are camels like?", list_of(
        "Camels store fat in their humps for hard times.",
        "They close their nostrils against sand and dust.", form="- {s}")),
    "options": ("Is it A or B?\nA) 12 coins\nB) 15 coins", "A: A 12 is even, so it is out.\n"
        "B: A 15 is odd, so it may stay."),
    "equal-fractions": ("Which chances are $\\frac{1}{2}$?", list_of(
        "**Coin**: $1 - \\frac{1}{2} = \\frac{1}{2}$ for heads.",
        "**Die**: $\\frac{3}{6} = \\frac{1}{2}$ for an odd number.")),
}  # fmt: skip


@pytest.mark.parametrize(("prompt", "text", "branches"), by_kind(CHANCE))
def test_forks_as_it_is(prompt: str, text: str, branches: int) -> None:
    assert [len(fork) for fork in trunk_forks(text, prompt)] == [branches]


@pytest.mark.parametrize("kind", INDEPENDENT)
def test_forks_at_any_length(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdata.rules.rewriter.saves_passes", lambda block: True)
    assert_forks(*INDEPENDENT[kind])


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("1. **Harbour**: boats.", "Harbour"),
        ("- Harbour - boats.", "Harbour"),
        ("2. `f(x)`: a call.", "`f(x)`"),
        ("## Harbour\nboats.", "Harbour"),
        ("一、港口：有船。", "港口"),
        ("3. We see that it is red: yes.", ""),
        ("(2) x = 4: yes.", ""),
        ("- A boat lies there.", ""),
    ],
)
def test_titles_of_their_own(text: str, title: str) -> None:
    assert split_title(Step(Label(""), text))[0] == title
