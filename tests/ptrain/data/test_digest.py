"""The hash of a run's data: of what is trained, whatever file it came from."""

import copy

import pytest

from pbranch.format.layout import LayoutOptions
from ptrain.data.dataset import Encoder, read_traces
from ptrain.data.digest import digest
from ptrain.model.base import load_marked_tokenizer
from tests.conftest import CHAT_TEMPLATE
from tests.ptrain.conftest import make_records, write_records


@pytest.fixture
def read(bases, tmp_path):
    """The digest of records, read from a file of their own."""

    def read(records, options=None, form="parallel", template=None):
        tokenizer, markers = load_marked_tokenizer(str(bases["qwen3"]))
        tokenizer.chat_template = template or tokenizer.chat_template
        path = write_records(tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl", records)
        encode = Encoder(tokenizer, markers, options or LayoutOptions())
        return digest(read_traces(str(path), encode, 512, form=form).examples)

    return read


def test_equal_content_gives_one_hash_and_any_change_another(read):
    records = make_records(6)
    one = read(records)
    assert one == read(copy.deepcopy(records))
    prompt, answer = copy.deepcopy(records), copy.deepcopy(records)
    prompt[3]["messages"][0]["content"] += " high"
    answer[5]["completion"] += " high"
    others = [prompt, answer, records[:5], records[::-1], [*records, records[0] | {"id": "again"}]]
    assert len({one, *map(read, others)}) == 6


def test_how_it_is_laid_out_counts(read):
    records = make_records(6)
    found = {
        read(records), read(records, LayoutOptions(positions="flat")),
        read(records, LayoutOptions(outline="own")), read(records, form="linear"),
        read(records, form="mixed"), read(records, template="high " + CHAT_TEMPLATE),
    }  # fmt: skip
    assert len(found) == 6
