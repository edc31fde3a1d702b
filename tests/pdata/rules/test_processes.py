"""Steps of one work, told in order: derivations cut at their titles, recipes, guides, runs of code,
proofs and talks, in texts of our own."""

import pytest

from tests.support.forks import by_kind, trunk_forks

pytestmark = pytest.mark.usefixtures("any_length")

LINEAR = {
    "lines that lead on": [
        ("Find the slope of the tangent.",
         "Recall the rule for powers:\n\\[ (x^n)' = n x^{n-1} \\]\n\nApplying it to the given "
         "cubic, one finds:\n\\[ f'(x) = 3x^2 - 4 \\]\n\nPlugging in the point:\n"
         "\\[ f'(2) = 8 \\]\n\nThe slope is 8."),
        ("How many days are there between the two dates?",
         "Count the rest of the first month:\nThere are eleven days left in it, not counting the "
         "day of departure itself.\n\nCount the months in between:\nBoth of them are whole, and "
         "one of them is February of a leap year.\n\nPut everything together:\n"
         "That makes seventy-one days between the two dates.\n\nSo it is 71."),
        ("Evaluate the integral.",
         "**Substitute:**\nLet u stand for the inner function, whose derivative is already a "
         "factor in front.\n\n**Integrate:**\nThe integral of a power of u is a power whose "
         "exponent is one larger, over that exponent.\n\n**Back-substitute:**\n"
         "Put the inner function in the place of u again, and add a constant at the end.\n\n"
         "That's the result."),
    ],
    "lines that lead on, in Chinese": [
        ("袋中有红球和白球，取两个球，Y为红球的个数，求Y的期望。",
         "由题意可知，取球的方式如下：\n一次取出两个球，不放回，每个球被取到的可能性都相同，共有"
         "十种取法。\n\n因此，Y的期望为：\n零乘以十分之三，加上一乘以十分之六，加上二乘以十分之一"
         "，等于五分之四。"),
        ("计算概率。",
         "基本事件总数：\n从六张卡片里面任取两张，一共有十五种不同的取法，可能性相同。\n\n"
         "满足条件的事件数：\n两张卡片的数字之和为偶数的取法有六种，可以一一列举出来。\n\n"
         "所求概率：\n用六除以十五，也就是五分之二。"),
        ("求直线与平面所成的角。",
         "建立空间直角坐标系：\n以底面的一个顶点为原点，三条棱所在的直线分别为三条坐标轴。\n\n"
         "写出各点的坐标：\n各顶点的坐标都可以由棱长直接写出来，棱长都是二。\n\n"
         "计算法向量与方向向量的夹角：\n两个向量的数量积除以模的乘积，得到二分之一，所以角是三十"
         "度。"),
        ("甲、乙两人比赛，求期望。",
         "根据题目条件，比赛可能出现的结果如下：\n甲胜两局，或者乙胜两局，或者双方各胜一局后再比"
         "一局，共三类。\n\n那么比赛局数的期望为：\n二乘以二分之一，再加上三乘以二分之一，等于二"
         "点五局。\n\n答案是二点五。"),
    ],
    "recipe": [
        ("How is a terrarium made?",
         "**Supplies**\nA glass jar with a lid, gravel, charcoal, soil and a few small plants "
         "that like it damp.\n\n**Assembly**\nLayer the gravel, the charcoal and the soil, set "
         "the plants in it, water them and close the lid.\n\n**Care**\nOpen the lid once a "
         "month, and take out leaves that have turned brown.\n\nEnjoy."),
        ("给我一个红烧肉的做法",
         "【食材】\n五花肉一斤，切成大小均匀的方块；冰糖、生抽、老抽、料酒、姜片适量。\n\n"
         "【做法】\n1. 五花肉冷水下锅焯水，捞出来洗净沥干。\n2. 锅里放少许油，炒化冰糖，放入肉块"
         "翻炒上色。\n3. 加入生抽、老抽和料酒，加水没过肉，小火炖一个小时。\n\n"
         "大火收汁即可。"),
        ("怎么做蛋挞？",
         "## 需要准备的食材\n\n蛋挞皮十个，鸡蛋三个，牛奶一百毫升，白糖适量，淡奶油少许。\n\n"
         "## 具体的制作过程\n\n把牛奶和糖煮到融化，放凉以后加入蛋黄搅匀，过筛后倒入蛋挞皮，烤二十"
         "分钟。\n\n香喷喷的蛋挞就做好了。"),
    ],
    "rounds": [
        ("What is s after the loop?\n\ns = ''\nfor c in 'abc':\n    s = c + s",
         "We go through the loop:\n- c = 'a': s is 'a' since it was empty before and the letter "
         "is put in front.\n- c = 'b': s is 'ba' since the letter is put in front of what was "
         "there.\n- c = 'c': s is 'cba' since the letter is put in front of what was there.\n\n"
         "So s is 'cba'."),
        ("What is in the queue at the end?",
         "Going through the operations one at a time:\n1. enqueue(4): the queue was empty, and "
         "now holds only the number 4.\n2. enqueue(7): the number 7 comes behind the 4, so that "
         "both are inside.\n3. dequeue(): the number at the front leaves, and 7 alone stays "
         "there.\n\nThe queue holds 7."),
        ("Simulate the bank account.",
         "- After the first day: 100 coins are paid in, the balance is 100 coins.\n"
         "- After the second day: 30 coins are taken out, the balance is 70 coins.\n"
         "- After the third day: interest of a tenth is added, the balance is 77 coins.\n\n"
         "So 77 coins."),
        ("Follow the robot.",
         "1. **Start:** the robot stands on the square in the corner and looks to the north.\n"
         "2. **Forward:** it moves two squares to the north, and is in the third row now.\n"
         "3. **Right:** it turns to the east and moves one square, and is in the second column."
         "\n\nIt ends in the second column, third row."),
        ("What is n after the loop?",
         "- i=0 → n = 5, because the loop adds five to the n from before, which was nought.\n"
         "- i=1 → n = 10, because the loop adds five to the n from before, which was five.\n"
         "- i=2 → n = 15, because the loop adds five to the n from before, which was ten.\n\n"
         "So 15."),
        ("手动模拟队列操作。",
         "1. 入队A：队列原来是空的，现在队头和队尾都是A。\n2. 入队B：B排在A的后面，现在队头是A，"
         "队尾是B。\n3. 出队：队头的A离开队列，现在只剩下B一个元素。\n\n最后队列里有B。"),
    ],
    "what is done to one thing": [
        ("函数返回什么？",
         "函数的执行过程：\n1. **去掉空格**：字符串变成 `\"abc\"`，长度为三。\n"
         "2. **反转**：字符串变成 `\"cba\"`，长度不变。\n3. **大写**：字符串变成 `\"CBA\"`，这就"
         "是返回值。\n\n所以返回 \"CBA\"。"),
        ("What is the matrix after the operations?",
         "**Transpose:** rows become columns, so the matrix is now two wide and three high.\n\n"
         "**Scale:** every entry of the transposed matrix is multiplied by four.\n\n"
         "**Trim:** the last row of the scaled matrix is thrown away.\n\nTwo by two."),
        ("What remains of the list of guests?",
         "First, all guests without a ticket are struck off, which leaves twelve of them.\n"
         "Second, the rest of them are sorted by their age, the oldest one first.\n"
         "Third, the first three of the sorted list are given a seat in the front row.\n\n"
         "Three guests."),
        ("What is printed?\n\nwords = 'to be or not'.split()\nprint(len(set(words)))",
         "- The string is split at the blanks, which gives a list of four words.\n"
         "- The list is turned into a set, which has no word more than once.\n"
         "- The length of the set is printed, which is four as no word came twice.\n\n"
         "4"),
        ("数据处理的结果是什么？",
         "- 去重：删除重复的记录之后，还剩下八百条记录。\n- 过滤：去掉缺少年龄的记录，还剩下七百"
         "五十条记录。\n- 排序：把剩下的记录按照年龄从小到大排列好。\n\n最后有七百五十条。"),
    ],
    "guide": [
        ("How do I publish a package?",
         "Follow this guide:\n\n1. Register: Open an account in the package index and confirm "
         "your email address.\n\n2. Describe: Write a file with the name, the version and the "
         "licence of the package.\n\n3. Build: Call `python -m build` in the folder in which the "
         "description is stored.\n\n4. Upload: Send the generated archives to the index and look "
         "at the page of the package.\n\nDone."),
        ("Guide me through making a podcast.",
         "**Choose a topic.** Think of what you could talk about for an hour without any notes."
         "\n\n**Record.** Sit down in a quiet room and speak into a microphone that is close by."
         "\n\n**Edit.** Cut the pauses out of the recording and put some music at both ends of "
         "it.\n\n**Publish.** Upload the edited file to a host and send its link to your friends."
         "\n\nEnjoy."),
        ("给出安装打印机的指南",
         "1. **开箱**：取出打印机和电源线，撕掉所有的胶带。\n2. **连接**：接上电源，用数据线把打"
         "印机接到电脑上。\n3. **驱动**：打开光盘里的程序，按照提示安装驱动。\n"
         "4. **测试**：在已安装的打印机上打印一张测试页。\n\n安装完成。"),
        ("Guide: how to write a thesis",
         "Phase 1 – Question: Read as much as you can and find a question nobody has answered.\n"
         "Phase 2 – Data: Collect the data that can answer the question you have settled on.\n"
         "Phase 3 – Writing: Describe the collected data and say what the answer seems to be.\n"
         "Phase 4 – Polishing: Let others read the draft and mend what they did not understand."
         "\n\nGood luck."),
        ("怎么申请护照？",
         "1. 网上预约：登录出入境管理局的网站，选择时间并填写个人信息。\n2. 现场办理：带上身份证"
         "和照片，在预约的时间到窗口采集指纹。\n3. 缴费领证：缴纳工本费，十个工作日之后凭回执领取"
         "护照。\n\n祝顺利。"),
    ],
    "proof": [
        ("Show that the set is closed.",
         "**Proposition A.** The limit of a sequence in the set has all coordinates at least "
         "zero.\n\n**Proposition B.** The limit of a sequence in the set has coordinates which "
         "add up to one.\n\n**Corollary.** The limit of a sequence in the set lies in the set, "
         "which is therefore closed.\n\nWe are done."),
        ("Show the bound.",
         "1. **Lemma 1.** The function is convex on the interval since its second derivative is "
         "positive.\n\n2. **Lemma 2.** The function lies below its chord, and so its mean is at "
         "most that of the ends.\n\n3. **Theorem.** The integral is at most half of the sum of "
         "the two values at the ends.\n\nQED."),
        ("Prove.",
         "Proof of Claim 1: suppose that two of the lines were parallel; then they would never "
         "meet.\n\nProof of Claim 2: suppose that three of the lines met in one point; then an "
         "angle would be zero.\n\nProof of the theorem: count the points in which two of the "
         "lines meet in two ways."),
    ],
    "talk": [
        ("An interview with a baker, please.",
         "Q: When do you get up in the morning, and does your family still see you in daylight?"
         "\n\nA: I get up at two o'clock, and they see me at lunch, when I am the one who yawns."
         "\n\nQ: What is the secret of a good loaf, if you are willing to tell our readers?\n\n"
         "A: Time. A dough that has rested for a day needs nothing else to make it taste good."),
        ("Write a phone call between two spies.",
         "- Falcon: The parcel is under the bench. You have ten minutes to pick it up.\n"
         "- Heron: I see a man with a dog there. Are you sure that nobody followed you?\n"
         "- Falcon: That's my brother. I told him to keep an eye on the parcel for us.\n"
         "- Heron: Your brother has just opened the parcel and he is eating my sandwich."),
        ("写一个小品剧本",
         "**老板**：小刘，你今天怎么又迟到了？\n**小刘**：老板，我的闹钟坏了，它今天也请假了。\n"
         "**老板**：你的闹钟一个星期请了五天假，比你还辛苦！\n**小刘**：所以我想跟您商量一下，给"
         "它也发一份工资。"),
        ("Write the opening of a podcast with two hosts",
         "Host 1: Welcome back to our show, where we talk about the strangest plants of the "
         "world!\n\nHost 2: And today it's a plant that eats meat. Did you ever feed one of "
         "those, Jim?\n\nHost 1: Only once. It took my fly, and then it looked at my finger "
         "rather hungrily.\n\nHost 2: Let's hear what our guest from the botanical garden has to "
         "say about that."),
    ],
}  # fmt: skip
# what looks like the steps of one work, and is none
FORKS = {
    "the same act": [
        ("How do I install blinds?",
         "- **Width:** Measure the window at its top, in the middle and below.\n"
         "- **Height:** Measure the window on the left, in the middle and on the right."),
    ],
    "methods of a class": [
        ("Explain the methods of a stack.",
         "- `push(x)`: puts x on top of all that is there.\n"
         "- `pop()`: takes away what is on top and returns it."),
    ],
    "questions of an interview": [
        ("Prepare an interview. List questions for each person.",
         "**1. Baker**\n- What do you like about bread?\n- When do you get up?\n\n"
         "**2. Miller**\n- Who owns your mill?\n- Where do you buy corn?"),
    ],
    "parts of a page": [
        ("How is a pond kept?",
         "**Planting**: lilies keep the water cool in the summer.\n\n"
         "**Care**: leaves are taken out once in the autumn."),
    ],
    "quoted letters": [
        ("Which letters are vowels?",
         "- 'a': a vowel of many words.\n- 'b': no vowel at all.\n- 'e': the commonest vowel."),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("prompt", "text"), by_kind(LINEAR))
def test_stays_linear(prompt: str, text: str) -> None:
    assert trunk_forks(text, prompt) == []


@pytest.mark.parametrize(("prompt", "text"), by_kind(FORKS))
def test_forks(prompt: str, text: str) -> None:
    assert trunk_forks(text, prompt)
