"""Steps that point at one another by numbers, phrases, pronouns and what they bring in, in texts of
our own."""

import pytest

from tests.support.forks import by_kind, trunk_forks

pytestmark = pytest.mark.usefixtures("any_length")

LINEAR = {
    "the number of a step": [
        ("Ada says Ben lies. Ben says Cleo tells the truth. Cleo lies. Does Ada tell the truth?",
         "Let's go through the statements.\n(1) Cleo lies. This is given to us in the puzzle and "
         "needs no further thought.\n(2) Ben says Cleo tells the truth. Because of (1) this "
         "cannot hold, so Ben is a liar himself.\n(3) Ada says Ben lies. By (2), he does, and "
         "therefore Ada tells the truth.\nTherefore, the answer is Yes."),
        ("Is the server down because of the disk?",
         "Observations:\n\n(a) The disk of the main server was replaced on Monday evening by two "
         "technicians.\n(b) Logs show that writes failed for the first time on Tuesday at noon, "
         "i.e. after (a).\n(c) Combining (a) and (b), the new disk is what broke the service on "
         "Tuesday.\n\nIt is the disk."),
        ("Which of the three suspects did it?",
         "1) The butler was in the kitchen from eight to nine, as the cook confirmed to the "
         "police.\n2) The gardener owns the only key of the shed where the knife was kept all "
         "year.\n3) Given 1) and 2), only the gardener could have taken the knife at half past "
         "eight.\n\nSo it was the gardener."),
        ("甲、乙、丙三人谁说谎？",
         "①甲说乙在说谎，而题目告诉我们甲是诚实的人，所以甲的话可信。\n②由①得乙是说谎的人，因此乙"
         "所说的关于丙的话不能相信。\n③由②可知丙并没有拿走那本书，丙是诚实的人。\n"
         "因此说谎的是乙。"),
        ("কে সত্য বলে?",
         "(১) রহিম সত্য বলে, কারণ ধাঁধার প্রথম বাক্যে এই কথাটি সরাসরি বলা হয়েছে।\n"
         "(২) করিম বলে রহিম মিথ্যা বলে। (১) থেকে রহিম সত্য বলে, তাই করিম মিথ্যা বলে।\n"
         "(৩) সালমা বলে করিম সত্য বলে। (২) থেকে করিম মিথ্যা বলে, তাই সালমাও মিথ্যা বলে।\n"
         "উত্তর: না।"),
        ("Which gas is it?",
         "1. The gas has no smell and puts out a burning splint at once, as test tube A shows.\n"
         "2. Limewater turns cloudy when the gas is led through it for about one minute.\n"
         "3. Observations 1 and 2 together are typical of carbon dioxide and of no other common "
         "gas.\n\nCarbon dioxide."),
        ("Which box?",
         "- [1] The red box is heavier than the blue box, as the first sign on the wall says.\n"
         "- [2] The blue box is heavier than the green box, as the second sign on the wall says."
         "\n- [3] From [1] and [2], the red box is the heaviest one of them, and holds the gold."
         "\n\nRed."),
    ],
    "a step by its word": [
        ("怎样查看并结束一个进程？",
         "可以这样做：\n\n1. 查看所有正在运行的进程，记下你要结束的那个进程的编号：\n"
         "   ```\n   ps aux\n   ```\n\n2. 结束该进程，把下面的PID换成第1步中记下的编号：\n"
         "   ```\n   kill PID\n   ```\n\n完成。"),
        ("How do I find out who owns the phone number?",
         "- First option: search for the number on the web, and note the towns that come up.\n"
         "- Second option: look up the towns noted in the first option in a printed phone book."
         "\n\nGood luck."),
        ("如何导出数据？",
         "1. 登录后台，点击左边的“数据”菜单，选择需要的时间范围。\n2. 点击“查询”，等待页面显示出"
         "所有符合条件的记录。\n3. 把第二步查询到的记录勾选上，点击“导出”按钮。\n\n"
         "完成。"),
        ("Explain the proof in parts.",
         "Part I: Every cycle of the graph is even, because each edge changes the colour of the "
         "end.\n\nPart II: The matching exists, because the condition shown in Part I is that of "
         "the theorem.\n\nEnd."),
    ],
    "a phrase that points": [
        ("前面提到的三种情况分别怎么计算？",
         "- 第一种情况：只有一个转弯，走法只有一种，先向上再向右走到底。\n- 第二种情况：有两个转"
         "弯，和上一种情况一样计算，再乘以二就可以了。\n- 第三种情况：有三个转弯，方法同上，只是"
         "多了一个可以选择的位置。\n\n总数随之得出。"),
        ("Prove both inequalities.",
         "(a) The left side is a square and a sum of squares, so that it cannot be negative at "
         "all.\n\n(b) In an entirely similar fashion, the right side is a sum of squares and not "
         "negative.\n\nThis proves both."),
        ("Count the paths.",
         "- Up first: after the step up there are five squares left, and ten ways to go on from "
         "there.\n- Right first: mirroring the above, there are just as many ways to go on from "
         "there.\n\nTwenty."),
        ("Which of these shapes tile?",
         "- The square tiles the plane, as the angles at a corner add up to a full turn.\n"
         "- The hexagon does so, too, for the reason just given, with three angles at a corner.\n"
         "- The pentagon does not, as its angle does not divide a full turn without a rest.\n\n"
         "Two of them."),
        ("Judge the essays.",
         "- Essay one: clear structure, few mistakes and an ending that comes as a surprise.\n"
         "- Essay two: it has the same strengths as the first one, but the title is dull.\n\n"
         "Essay one wins."),
    ],
    "how many there are": [
        ("Suggest a marking scheme.",
         "- Each essay is read by 3 teachers who do not know the name of the pupil at all.\n"
         "- A mark between one and ten is given for style, and another one for the content.\n"
         "- If the 3 readers are more than two marks apart, the head of the school decides.\n\n"
         "Simple."),
        ("设计一个小游戏。",
         "规则如下：\n\n1. 电脑从列表里选出一个秘密的单词，玩家看不到这个单词。\n"
         "2. 玩家一共有6次机会，每次可以输入一个字母来猜。\n3. 如果玩家在这6次机会之内猜出了单词"
         "，就赢得比赛。\n4. 否则电脑显示单词，游戏结束。\n\n祝你玩得开心。"),
        ("How does the lottery work?",
         "- A machine draws seven balls from a drum while a notary is looking on all the time.\n"
         "- A player marks numbers on a slip and hands it in before noon on the Saturday.\n"
         "- A player who has marked all seven of them wins the first prize of the week.\n\n"
         "That is how."),
        ("设计一个抽奖活动",
         "1. 准备50张奖券，其中只有五张能够中奖，其余都是空白。\n2. 顾客消费满一百元，就可以从箱"
         "子里抽取一张奖券。\n3. 当50张奖券全部抽完之后，活动就结束，不再补充奖券。\n\n"
         "祝活动顺利。"),
    ],
    "this and the": [
        ("Why do rivers meander?",
         "Here is why:\n\n- Water flows faster on the outer side of a bend and slower on the "
         "inner side of it.\n- Sand is carried off where the current is strong and dropped where "
         "it is weak.\n- Over the centuries, through this process, a small bend grows into a "
         "large loop.\n\nSo rivers wind."),
        ("Where do eels come from?",
         "- Adult eels leave the rivers in autumn and swim across the ocean to a warm sea.\n"
         "- The larvae drift back with the current for three years until they reach the coast.\n"
         "- Fishermen catch most of these larvae at the mouths of the rivers in spring.\n\n"
         "From the sea."),
        ("月亮最远能到哪里？",
         "分析如下：\n\n- 地球的周长最长处大约是四万公里，这是用卫星测量出来的结果。\n"
         "- 月亮只经过南纬二十八度到北纬二十八度之间的区域。\n- 多年之后，月亮会经过这个区域里的"
         "每一个点。\n\n因此答案是二十八度。"),
        ("How does a vaccine work?",
         "- A harmless piece of the germ is injected into the muscle of the upper arm of a "
         "person.\n- White cells recognise the piece as foreign, and they make proteins that "
         "stick to it.\n- When the real germ comes, these proteins are at hand and stop it "
         "within a few hours.\n\nSo one stays well."),
        ("What does the report say about the bridge?",
         "- Engineers found a crack in the third pillar of the bridge when the water was low.\n"
         "- The town council met on Friday and had experts explain what this crack could mean.\n"
         "- The bridge will be closed to lorries until the crack has been filled with resin.\n\n"
         "That's it."),
        ("How do ants find food?",
         "- A scout runs about at random until it comes upon something that can be eaten.\n"
         "- On the way home it lays a trail of scent which other ants can smell for minutes.\n"
         "- The workers follow the trail, and each of them makes it stronger as it passes.\n\n"
         "So they find it."),
    ],
}  # fmt: skip
# the same words where they point at nothing, or at what the step itself has said
FORKS = {
    "numbers": [
        ("Compare the shops.",
         "1. The old shop has 1) tea and 2) sugar, from many countries.\n"
         "2. The new shop has cakes, and its owner is known from the radio."),
        ("কী কী গাছ আছে?",
         "(১) আম গাছ বড় হয় এবং গরমে ফল দেয়।\n(২) নিম গাছ (৩) মিটার উঁচু এবং পাতা তেতো।"),
    ],
    "phrases": [
        ("How do whales and bats hunt?",
         "- **Whales**: they send out clicks and listen for the echo in the deep.\n"
         "- **Bats**: they call, and they find moths in a similar way to sailors with sonar."),
        ("Describe the two walls.",
         "- The left wall is of brick, painted white, and half of it is wet.\n"
         "- The right wall is of stone, along the same lines as those of the old church."),
        ("谁坐在哪里？", "- 左边坐着两个人，剩下的位置是空的。\n- 右边坐着三个人，没有空的位置。"),
    ],
    "how many": [
        ("Name two games.",
         "- Chess: 2 players move 16 pieces each over a board.\n"
         "- Skat: 3 players hold cards, and the 3 players bid for the right to name trumps."),
        ("介绍两个活动。", "1. 抽奖：准备50张奖券，人人有份。\n2. 义卖：准备30件玩具，价格不高。"),
    ],
    "this and the": [
        ("Where do people read?",
         "- A park has benches; these benches stand in the shade of old trees.\n"
         "- A train has seats, and this leaves the hands free for a book."),
        ("What is in the house?",
         "- A lamp of brass stands in the hall of the house.\n"
         "- A chair of oak stands below a window, and the chair has a seat of straw."),
        ("介绍两个地方。", "- 山上有一座塔，游客都喜欢这座塔。\n- 河边有一个码头，这个码头很旧。"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("prompt", "text"), by_kind(LINEAR))
def test_stays_linear(prompt: str, text: str) -> None:
    assert trunk_forks(text, prompt) == []


@pytest.mark.parametrize(("prompt", "text"), by_kind(FORKS))
def test_forks(prompt: str, text: str) -> None:
    assert trunk_forks(text, prompt)
