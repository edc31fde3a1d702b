"""Which names mean a GGUF file, and what is said of a file that is none."""

import random
import struct

import pytest
from gguf import GGUFValueType

from pbranch.errors import ModelError
from pbranch.hf.base_models import locate
from pbranch.hf.gguf import gguf_file
from pbranch.hf.gguf.gguf_file import find_gguf, is_gguf, read_header, repository_of
from tests.support.fake_hub import serving


def test_names_of_gguf_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.gguf").mkdir()
    (tmp_path / "a:b.gguf").touch()
    names = ["x.gguf", "a/X.GGUF", "me/x:y.gguf", "me/x:in/y.gguf", "folder.gguf", "me/x-GGUF"]
    assert list(map(is_gguf, names)) == [True, True, True, True, False, False]
    assert list(map(repository_of, names[:4])) == [None, None, "me/x", "me/x"]
    assert repository_of("a:b.gguf") is None and repository_of("./c:d.gguf") is None


@pytest.mark.parametrize("name", ["x.gguf", "./x.gguf", "/no/x.gguf", "no/such/x.gguf"])
def test_a_file_that_is_not_there(name):
    with pytest.raises(
        ModelError, match=f"model {name}: no such file; expected FILE.gguf, or REPO"
    ):
        locate(name)


def test_a_missing_package_is_named(llama_file, monkeypatch):
    monkeypatch.setattr(gguf_file, "find_spec", lambda name: None)
    with pytest.raises(ModelError) as caught:
        locate(str(llama_file))
    assert str(caught.value).endswith("expected pip install 'parallel-branches[gguf]'")


def test_a_foreign_file_is_refused(tmp_path):
    for content in (b"", b"GG", b"PK\3\4 a wheel"):
        (tmp_path / "x.gguf").write_bytes(content)
        with pytest.raises(ModelError, match="not a GGUF file, it begins with b'") as caught:
            locate(str(tmp_path / "x.gguf"))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.05, 0.2, 0.5, 0.999])
def test_a_file_that_was_cut_off_is_refused(llama_file, tmp_path, share):
    whole = llama_file.read_bytes()
    (tmp_path / "x.gguf").write_bytes(whole[: max(4, int(len(whole) * share))])
    with pytest.raises(ModelError, match=r"not a whole GGUF file, or of a newer kind \(") as caught:
        locate(str(tmp_path / "x.gguf"))
    assert "\n" not in str(caught.value)


def test_a_file_of_the_other_byte_order_is_refused(tmp_path):
    import gguf

    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama", endianess=gguf.GGUFEndian.BIG)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelError, match="the other byte order"):
        read_header(tmp_path / "x.gguf")


def test_a_file_on_the_hub_is_downloaded(llama_file, tmp_path):
    code = (
        "from pbranch import console; from pbranch.hf.base_models import locate; import sys\n"
        "console.run(lambda: print(locate(sys.argv[1])))"
    )
    with serving() as hub:
        hub.add("me/small", llama_file.parent)
        done = hub.run(tmp_path, "-c", code, f"me/small:{llama_file.name}")
        missing = hub.run(tmp_path, "-c", code, "me/small:other.gguf")
        nowhere = hub.run(tmp_path, "-c", code, "me/none:other.gguf")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == locate(str(llama_file))  # by its hash, wherever it lies
    assert missing.stderr == (
        "error: model me/small:other.gguf: the repository me/small has no file other.gguf\n"
    )
    assert nowhere.stderr.startswith("error: model me/none: no such folder, nor on the Hub: ")
    assert nowhere.stderr.count("\n") == 1


def test_a_file_of_this_machine_is_found_from_where_one_stands(llama_file, monkeypatch):
    monkeypatch.chdir(llama_file.parent)
    assert find_gguf(llama_file.name) == llama_file


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("block_count", 10**9, "llama.block_count is 1e+09, more than 65,536"),
        ("attention.head_count_kv", 10**6, "attention.head_count_kv is 1e+06, more than 65,536"),
        ("block_count", 5000, "5000 blocks, with "),
        (
            "feed_forward_length",
            2**30,
            "its intermediate_size and hidden_size make a matrix",
        ),
    ],
)
def test_sizes_that_the_weights_do_not_have_are_refused(llama_file, tmp_path, key, value, message):
    """Before memory is taken for them."""
    head = f"llama.{key}".encode() + struct.pack("<I", GGUFValueType.UINT32)
    data = bytearray(llama_file.read_bytes())
    at = data.index(head) + len(head)
    data[at : at + 4] = struct.pack("<I", value)
    (tmp_path / "x.gguf").write_bytes(data)
    with pytest.raises(ModelError, match=message.replace("+", r"\+")) as caught:
        locate(str(tmp_path / "x.gguf"))
    assert "\n" not in str(caught.value)


def test_a_header_with_bytes_changed_is_read_or_refused(llama_file, tmp_path):
    whole, codes = llama_file.read_bytes(), []
    file = tmp_path / "x.gguf"
    for seed in range(150):
        draw, data = random.Random(seed), bytearray(whole)
        at = draw.randrange(4, 2000)
        wild = [0, 1, 255, 0x80, draw.randrange(256)]
        data[at : at + draw.choice([1, 4, 8])] = bytes([draw.choice(wild)]) * draw.choice([1, 4, 8])
        file.write_bytes(data)
        try:
            read_header(file)
        except ModelError as e:
            assert "\n" not in str(e) and len(str(e)) < 500, (seed, str(e))
            codes.append(1)
        else:
            codes.append(0)
    assert 10 < sum(codes) < 150
