"""The picture of a bounded cache."""

import xml.etree.ElementTree as ElementTree

from pinfer.eviction.options import KVOptions
from pinfer.eviction.trace import KVTrace, PageLife
from pinfer.output.waterfall import draw_waterfall, lane_name, lifetimes


def test_a_page_lives_in_fewer_and_fewer_layers():
    page = PageLife((), 16, 16, 31, gone={0: 63, 1: 47, 2: 47})
    assert list(lifetimes(page, 4, 100)) == [(16, 47, 1.0), (47, 63, 0.5), (63, 100, 0.25)]
    whole = PageLife((), 16, 16, 31, gone=dict.fromkeys(range(4), 47))
    assert list(lifetimes(whole, 4, 100)) == [(16, 47, 1.0)]


def test_every_page_has_a_line_and_every_lane_a_name():
    trace = KVTrace(KVOptions("raas", 64, 16), 64, 2)
    trace.pages = [
        PageLife(((0, 1),), 32, 16, 47),
        PageLife((), 0, 16, 15, gone={0: 31}),
        PageLife((), 16, 16, 31),
    ]
    root = ElementTree.fromstring(draw_waterfall(trace))
    space = "{http://www.w3.org/2000/svg}"
    lines = [(float(x.get("y")), x.get("fill-opacity")) for x in root.iter(f"{space}rect")]
    assert len({y for y, _ in lines}) == 3 and lines[1][1] == "0.50"
    texts = [x.text for x in root.iter(f"{space}text")]
    assert texts[0] == "raas: pages of 16 tokens, at most 64 tokens a lane"
    assert [t for t in texts if t in ("trunk", "branch 1.2")] == ["trunk", "branch 1.2"]
    assert lane_name(((0, 0), (1, 2))) == "branch 1.1 / 2.3"
    assert "</svg>" in draw_waterfall(KVTrace(KVOptions(), 64, 2)), "nothing was evicted yet"
