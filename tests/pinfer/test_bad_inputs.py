"""Bad input to `pinfer generate`: one line that says what is wrong, and an exit code."""

import json
import shutil

import pytest

from tests.support.checkpoints import copy_folder, short


def one_line(result, *parts):
    """Exit code 1, nothing on stdout, one line on stderr that names `parts`."""
    code, out, err = result
    assert (code, out) == (1, ""), err
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("error: "), err
    for part in parts:
        assert str(part) in lines[0]


LINES = {
    "torn": (b'{"prompt": "a"}\n{"prompt": \n', ":2: not JSON"),
    "list": (b"[1]\n", ":1: found list, expected a JSON object"),
    "no key": (b'{"text": "a"}\n', ":1: expected an object"),
    "number": (b'{"prompt": 3}\n', ':1: "prompt" is not a str'),
    "messages": (b'{"messages": "a"}\n', ':1: "messages" is not a list'),
    "tools": (b'{"prompt": "a", "tools": "b"}\n', ':1: "tools" is not a list'),
    "surrogate": (b'{"prompt": "\\ud83d"}\n', ":1: not JSON text"),
    "latin-1": (b'{"prompt": "\xe9"}\n', "not UTF-8"),
    "empty": (b"\n\n", "no prompts"),
}


@pytest.mark.parametrize("data, message", LINES.values(), ids=LINES)
def test_a_bad_prompt_file_is_one_line(pinfer, tmp_path, data, message):
    file = tmp_path / "bad.jsonl"
    file.write_bytes(data)
    one_line(pinfer("--prompts", file, *short()), file, message)


def test_a_bad_message_is_one_line(pinfer):
    job = json.dumps({"messages": [{"role": "user"}]}).encode()
    one_line(pinfer("--prompts", "-", *short(), stdin=job), "message 1")
    job = json.dumps({"messages": [{"role": "judge", "content": "x"}]}).encode()
    one_line(pinfer("--prompts", "-", *short(), stdin=job), "unknown role judge")


def test_bad_inputs_are_one_line(pinfer, base, adapter, tmp_path):
    one_line(pinfer("--prompts", tmp_path / "none.jsonl", *short()), "none.jsonl", "No such file")
    one_line(pinfer("--prompts", tmp_path, *short()), tmp_path)
    one_line(pinfer("word " * 3000, *short()), "tokens; the model's context holds 2048")
    one_line(pinfer("a", *short("--output", tmp_path / "no" / "where")), "no such folder")
    one_line(pinfer("", "--raw", *short()), "empty")
    one_line(pinfer("\udcff", *short()), "not UTF-8")
    one_line(pinfer("-", *short(), stdin=b"\xff"), "not UTF-8")


BAD_OPTIONS = {
    "--attention flsh": "'flsh': expected auto, flash, sdpa or dense",
    "--attention flash": "'flash': needs a CUDA device, found cpu; use sdpa",
    "--mode paralel": "'paralel': expected parallel",
    "--grammar of": "'of': expected on or off",
    "--fork sometimes": "'sometimes': expected auto, always or never",
    "--min-branch-tokens -1": "min_branch_tokens -1: expected 0 or more",
    "--temperature -1": "temperature -1",
    "--temperature inf": "temperature inf",
    "--temperature nan": "temperature nan",
    "--top-k -1": "top_k -1: expected 0",
    "--top-p 0": "top_p 0.0: expected more than 0, at most 1",
    "--top-p 1.5": "top_p 1.5",
    "--min-p 2": "min_p 2.0: expected 0 to 1",
    "--repetition-penalty 0": "repetition_penalty 0.0: expected more than 0",
    "--logprobs 1000": "logprobs 1000: expected 0 to 100",
    "-n 0": "n 0: expected 1 or more",
    "--stop=": "expected texts that are not empty",
    "--max-new-tokens 0": "max_new_tokens 0: expected 1 or more",
    "--max-topics 0": "max_topics 0",
    "--max-depth 0": "max_depth 0",
    "--max-branch-tokens 0": "max_branch_tokens 0",
    "--max-width 0": "max_width 0",
    "--max-rows 0": "max_rows 0",
    "--max-memory 0": "max_memory 0.0: expected more than 0 GiB",
    "--max-memory inf": "max_memory inf: expected more than 0 GiB",
    "--max-memory 1e-6": "there is memory for",
    "--timeout 0": "timeout_s 0.0: expected more than 0",
    "--dtype int8": "'int8': expected float32",
    "--device tpu": "'tpu': expected cpu or cuda",
    "--template-arg thinking": "'thinking': expected NAME=VALUE",
    "--template-arg enable_thinkin=[": "'[' is not YAML",
    "--template-arg nonsense=1": "template argument nonsense: the chat template has no such name",
    "--template-arg messages=1": "template argument messages: is always set",
    "--raw --system x": "a system text needs a chat template",
    "--raw --template-arg messages=1": "template arguments need a chat template",
    "--output /": "/: cannot write",
    "--dialect papper": "'papper': expected native or paper",
    "--dialect paper --outline some": "'some': expected all or own",
    "--dialect paper --grammar off": "grammar off needs dialect native",
    "--dialect paper --instruction nowhere.txt": "--instruction nowhere.txt: not a text",
    "--instruction nowhere.txt": "--instruction needs a dialect that is asked for",
    "--dialect paper --join keep": "--join keep: the dialect paper joins by reencode",
    "--join reencode": "--join reencode: the adapter was trained for keep",
    "--join drop": "--join drop: expected keep or reencode",
}


@pytest.mark.parametrize("options, message", BAD_OPTIONS.items(), ids=BAD_OPTIONS)
def test_a_bad_option_is_one_line(pinfer, options, message):
    one_line(pinfer("a", "--max-new-tokens", "5", "--device", "cpu", *options.split()), message)


def test_broken_files_of_a_model_are_one_line(pinfer, base, adapter, tmp_path):
    """Each file of a base or an adapter in turn: torn, empty, or of another kind."""
    torn = {
        base: ("config.json", "model.safetensors"),
        adapter: (
            "adapter_config.json",
            "adapter_model.safetensors",
            "branch_config.json",
            "tokenizer.json",
        ),
    }
    for source, names in torn.items():
        for name in names:
            for data in (b"", b"{", b"\xff\xfe" * 20):
                folder = copy_folder(source, tmp_path / "broken")
                (folder / name).write_bytes(data)
                pair = (folder, adapter) if source == base else (base, folder)
                args = ["--model", pair[0], "--adapter", pair[1]]
                one_line(pinfer("a", *short(*args), model=False), folder)
                shutil.rmtree(folder)


def test_a_torn_file_of_answers_is_one_line(pinfer, tmp_path):
    out = tmp_path / "out.jsonl"
    for line in ("[1]", "nonsense", '{"prompt": "b"}'):
        out.write_text(line + "\n")
        one_line(pinfer("a", *short("--json", "--resume", "--output", out)), f"{out}:1: ")
        assert out.read_text() == line + "\n"


def test_wrong_models_are_one_line(pinfer, base, adapter, untied, tmp_path):
    def with_model(model, made):
        return pinfer("a", *short("--model", model, "--adapter", made), model=False)

    one_line(with_model(untied[0], adapter), adapter, "another one")
    one_line(with_model(tmp_path / "no", adapter), "no such folder")
    one_line(with_model(base, tmp_path / "no"), "no such folder")
    old = copy_folder(adapter, tmp_path / "old")
    stored = json.loads((old / "branch_config.json").read_text())
    (old / "branch_config.json").write_text(json.dumps({**stored, "format_version": 0}))
    one_line(with_model(base, old), old, "format_version 0")
    code, out, err = with_model(base, "none")
    assert code == 0 and out and "no adapter that knows branches: mode linear" in err
    args = short("--model", base, "--adapter", "none", "--mode", "parallel")
    one_line(pinfer("a", *args, model=False), "use mode linear")


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["a", "--prompts", "f"],
        ["a", "--no-such-option"],
        ["a", "--max-rows", "many"],
        ["a", "--resume"],
        ["a", "--resume", "--output", "f"],
    ],
    ids=str,
)
def test_usage_errors_exit_with_2(pinfer, args):
    code, out, err = pinfer(*args, model=False)
    assert (code, out) == (2, "")
    assert "Usage" in err


def test_a_batch_is_refused_before_the_output_is_touched(pinfer, tmp_path):
    """A file that holds earlier answers survives a misspelt model."""
    target = tmp_path / "answers.jsonl"
    target.write_text("earlier\n")
    one_line(pinfer("a", *short("--mode", "nonsense", "--output", target)), "nonsense")
    one_line(pinfer("a", *short("--attention", "nonsense", "--output", target)), "nonsense")
    one_line(pinfer("word " * 3000, *short("--output", target)), "context")
    assert target.read_text() == "earlier\n"
