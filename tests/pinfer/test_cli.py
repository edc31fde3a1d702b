"""`pinfer generate` on a tiny model and adapter: output, exit codes, one-line errors."""

import io
import json
import shutil
import subprocess
import sys

import pytest
import torch

from pbranch import parse, plain_text
from pbranch.markers import MARKERS
from pinfer import cli
from tests.pinfer.folders import copy_folder

FIELDS = (
    "prompt prompt_token_ids text tagged_text token_ids forced finish_reason limits stats settings"
)
STATS = (
    "mode prompt_tokens generated_tokens injected_tokens grammar_interventions passes "
    "critical_path_tokens rows blocks blocks_in_order branches max_width max_depth kv_rows "
    "prefix_rows prefill_seconds decode_seconds tokens_per_second"
)


@pytest.fixture
def pinfer(monkeypatch, capsys, base, adapter):
    """Runs `pinfer generate ARGS`; returns (exit code, stdout, stderr)."""

    def run(*args, stdin=b"", model=True):
        named = ["--model", str(base), "--adapter", str(adapter)] if model else []
        monkeypatch.setattr(sys, "argv", ["pinfer", "generate", *map(str, args), *named])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = 0
        try:
            cli.main()
        except SystemExit as e:
            code = e.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return run


def short(*args):
    return ["--max-new-tokens", "30", "--device", "cpu", *args]


def test_plain_output_is_the_text_and_a_line_about_it(pinfer):
    code, out, err = pinfer("Check each record.", *short())
    assert code == 0
    _, as_json, _ = pinfer("Check each record.", *short("--json"))
    assert out == json.loads(as_json)["text"] + "\n"
    assert "tokens in" in err and "[length, limits: max_new_tokens" in err


def test_json_has_the_fields_of_the_contract(pinfer):
    code, out, err = pinfer("Check each record.", *short("--json"))
    assert (code, out.count("\n")) == (0, 1)
    assert "Traceback" not in err
    answer = json.loads(out)
    assert list(answer) == FIELDS.split()
    assert list(answer["stats"]) == STATS.split()
    assert answer["prompt"] == "Check each record."
    assert plain_text(parse(answer["tagged_text"])) == answer["text"]
    assert all(isinstance(f, bool) for f in answer["forced"])
    assert answer["stats"]["mode"] == "parallel"


def test_a_batch_comes_in_input_order_with_its_other_keys(pinfer, tmp_path):
    """Answers of different lengths finish in another order than they are printed in."""
    jobs = [
        {"prompt": "Check each record.", "id": "x-1", "meta": {"level": 3}},
        {"messages": [{"role": "user", "content": "Done."}], "id": "x-2"},
        {"prompt": "你好\u2028second line\u0085third", "id": "x-3"},
        {"prompt": "", "id": "x-4"},
        {"prompt": "Done.", "id": "x-5"},
    ]
    file = tmp_path / "prompts.jsonl"
    lines = [json.dumps(job, ensure_ascii=False) for job in jobs]
    file.write_bytes(("\r\n".join(lines) + "\n\n").encode())
    code, out, err = pinfer("--prompts", file, *short("--json"))
    assert code == 0, err
    found = [json.loads(line) for line in out.rstrip("\n").split("\n")]
    assert [{k: a[k] for k in job} for a, job in zip(found, jobs, strict=True)] == jobs
    assert found[1]["prompt_token_ids"] == found[4]["prompt_token_ids"]
    for answer, job in zip(found, jobs, strict=True):
        if "prompt" in job:
            alone = json.loads(pinfer(job["prompt"], *short("--json"))[1])
            assert alone["token_ids"] == answer["token_ids"]


def test_stdin_and_output(pinfer, tmp_path):
    _, wanted, _ = pinfer("Go on.", *short())
    assert pinfer("-", *short(), stdin=b"Go on.")[1] == wanted
    job = b'{"prompt": "Go on.", "id": 7}\n'
    code, out, _ = pinfer("--prompts", "-", *short("--json"), stdin=job)
    assert (code, json.loads(out)["id"]) == (0, 7)
    target = tmp_path / "out.jsonl"
    code, nothing, _ = pinfer("--prompts", "-", *short("--json", "--output", target), stdin=job)
    assert (code, nothing) == (0, "")
    assert json.loads(target.read_text())["token_ids"] == json.loads(out)["token_ids"]


def test_samples_are_seeds_and_options_shape_them(pinfer):
    options = ["--json", "--temperature", 1, "--top-k", 20, "--top-p", 0.9, "--min-p", 0.01]
    options += ["--repetition-penalty", 1.1, "--logprobs", 2]
    code, out, err = pinfer("a", *short(*options, "-n", 3, "--seed", 5))
    assert code == 0, err
    found = [json.loads(line) for line in out.splitlines()]
    alone = [json.loads(pinfer("a", *short(*options, "--seed", s))[1]) for s in (5, 6, 7)]
    assert [a["token_ids"] for a in found] == [a["token_ids"] for a in alone]
    for answer in found:
        for forced, score in zip(answer["forced"], answer["logprobs"], strict=True):
            assert (score is None) == forced
            assert forced or (score["logprob"] <= 0 and len(score["top"]) == 2)
    at = next(i for i, sign in enumerate(found[0]["text"]) if sign.isascii() and i)
    text, sign = found[0]["text"][:at], found[0]["text"][at]
    stops = ["--stop", "@@", "--stop", sign]
    code, out, _ = pinfer("a", *short(*options, "--seed", 5, *stops))
    assert code == 0 and json.loads(out)["text"].startswith(text)
    assert "@@" not in out and json.loads(out)["text"] != found[0]["text"]


def test_modes(pinfer):
    found = {}
    for mode in ("parallel", "serial", "linear"):
        longer = ["--json", "--mode", mode, "--max-new-tokens", "60", "--device", "cpu"]
        code, out, _ = pinfer("Go on.", *longer)
        assert code == 0
        found[mode] = json.loads(out)
        assert found[mode]["stats"]["mode"] == mode
    assert found["parallel"]["token_ids"] == found["serial"]["token_ids"]
    assert found["serial"]["stats"]["max_width"] == 1
    assert found["linear"]["stats"]["blocks"] == 0
    assert found["parallel"]["stats"]["blocks"] > 0


def test_options_reach_the_engine(pinfer):
    options = ["--max-topics", 1, "--max-depth", 1, "--max-branch-tokens", 2, "--max-width", 1]
    options += ["--max-rows", 3, "--timeout", 100, "--dtype", "float32", "--attention", "dense"]
    code, out, err = pinfer("Check each record.", *short("--json", *options))
    assert code == 0, err
    assert json.loads(out)["stats"]["max_width"] == 1
    sampled = ["--json", "--temperature", 1, "--seed"]
    one, two, again = (
        json.loads(pinfer("a", *short(*sampled, seed))[1])["token_ids"] for seed in (1, 2, 1)
    )
    assert one == again != two
    _, out, _ = pinfer("a", *short("--json", "--system", "Be brief."))
    assert json.loads(out)["stats"]["prompt_tokens"] > len("a")
    _, raw, _ = pinfer("a", *short("--json", "--raw"))
    assert json.loads(raw)["stats"]["prompt_tokens"] == 1


def test_marker_strings_in_a_prompt_are_text(pinfer, adapter):
    spelled = "".join(MARKERS.values())
    code, out, _ = pinfer(f"Say {spelled}", *short("--json"))
    answer = json.loads(out)
    ids = json.loads((adapter / "branch_config.json").read_text())["marker_ids"]
    assert code == 0 and answer["prompt"] == f"Say {spelled}"
    assert not set(ids.values()) & set(answer["prompt_token_ids"])
    parse(answer["tagged_text"])


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
    "list": (b"[1]\n", ":1: expected an object"),
    "no key": (b'{"text": "a"}\n', ":1: expected an object"),
    "number": (b'{"prompt": 3}\n', ':1: "prompt" is not a str'),
    "messages": (b'{"messages": "a"}\n', ':1: "messages" is not a list'),
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
    "--attention flsh": "'flsh': expected auto, sdpa or dense",
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
    one_line(with_model(base, "none"), "use mode linear")


def test_env_is_what_a_bug_report_needs(monkeypatch, capsys):
    for options in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", ["pinfer", "env", *options])
        with pytest.raises(SystemExit) as done:
            cli.main()
        assert not done.value.code
    plain, as_json = capsys.readouterr().out.rsplit("\n{", 1)
    facts = json.loads("{" + as_json)
    assert facts["torch"] == torch.__version__ and facts["parallel-branches"]
    assert facts["devices"] == [] or facts["cuda"]
    for name, value in facts.items():
        assert f"{name:<20} {value}" in plain


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


def test_help_does_not_import_torch():
    code = (
        "import sys; from pinfer import cli; sys.argv = ['pinfer', 'generate', '--help']\n"
        "try: cli.main()\n"
        "except SystemExit as e: assert not e.code\n"
        "heavy = {'torch', 'transformers', 'peft'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--max-new-tokens" in done.stdout


def test_a_batch_is_refused_before_the_output_is_touched(pinfer, tmp_path):
    """A file that holds earlier answers survives a misspelt model."""
    target = tmp_path / "answers.jsonl"
    target.write_text("earlier\n")
    one_line(pinfer("a", *short("--mode", "nonsense", "--output", target)), "nonsense")
    one_line(pinfer("a", *short("--attention", "nonsense", "--output", target)), "nonsense")
    one_line(pinfer("word " * 3000, *short("--output", target)), "context")
    assert target.read_text() == "earlier\n"


def test_an_interrupt_exits_with_130(pinfer, monkeypatch):
    from pinfer import engine

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(engine.Engine, "from_pretrained", interrupted)
    assert pinfer("a", *short())[0] == 130
