"""`pinfer generate` on a tiny model and adapter: output, options, exit codes."""

import json
import subprocess
import sys

import pytest
import torch
from transformers import GenerationConfig

from pbranch import parse, plain_text
from pbranch.format.markers import MARKERS
from pinfer import cli
from pinfer.commands.prompt_files import unescape
from pinfer.output.generation import ANSWER_KEYS
from tests.conftest import CHAT_TEMPLATE
from tests.support.byte_tokenizer import train_byte_tokenizer
from tests.support.checkpoints import copy_folder, save_base, short

FIELDS = (
    "prompt prompt_token_ids text tagged_text token_ids forced finish_reason stop_reason limits "
    "seed sampling stats sample settings"
)
STATS = (
    "mode prompt_tokens generated_tokens injected_tokens discarded_tokens grammar_interventions "
    "passes "
    "critical_path_tokens rows blocks blocks_in_order branches max_width max_depth kv_rows "
    "prefix_rows drafted accepted accepted_by_position prefill_seconds decode_seconds "
    "tokens_per_second"
)


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


def test_a_dialect_that_a_model_does_not_write_says_so(pinfer, base, tmp_path):
    """The same text as without it, and why."""
    page = tmp_path / "ask.txt"
    page.write_text("\ufeffMark each step.\n", encoding="utf-8")
    options = ["--model", base, "--adapter", "none", "--dialect", "paper", "--instruction", page]
    code, out, err = pinfer("Check it.", *short(*options), model=False)
    assert code == 0 and "not side by side: no marks" in err
    code, linear, _ = pinfer("Check it.", *short(*options, "--mode", "linear"), model=False)
    assert (code, linear) == (0, out)
    code, as_json, _ = pinfer("Check it.", *short("--json", *options), model=False)
    answer = json.loads(as_json)
    assert answer["fallback"] == "no marks" and answer["text"] + "\n" == out
    asked = ["--model", base, "--adapter", "none", "--mode", "linear"]
    _, plain, _ = pinfer("Check it.\n\nMark each step.", *short("--json", *asked), model=False)
    assert json.loads(plain)["prompt_token_ids"] == answer["prompt_token_ids"]
    own = copy_folder(base, tmp_path / "own")  # a model may bring the same text
    GenerationConfig(paper_instruction="Mark each step.").save_pretrained(own)
    options = ["--model", own, "--adapter", "none", "--dialect", "paper"]
    _, brought, _ = pinfer("Check it.", *short("--json", *options), model=False)
    assert json.loads(brought)["prompt_token_ids"] == answer["prompt_token_ids"]


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
    # a byte-order mark and the last line break, as editors and `echo` write them, are no prompt
    for stdin in (b"Go on.", b"Go on.\n", b"\xef\xbb\xbfGo on.\r\n"):
        assert pinfer("-", *short(), stdin=stdin)[1] == wanted
    assert pinfer("-", *short(), stdin=b"Go on.\n\n")[1] == pinfer("Go on.\n", *short())[1]
    job = b'\xef\xbb\xbf{"prompt": "Go on.", "id": 7}\r\n'
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
    options += ["--seed", 5, "--mode", "linear"]  # where no header is exempt from stop strings
    whole = json.loads(pinfer("a", *short(*options))[1])["text"]
    at = next(i for i, sign in enumerate(whole) if sign.isascii() and sign not in whole[:i] and i)
    code, out, _ = pinfer("a", *short(*options, "--stop", "@@", "--stop", whole[at]))
    assert code == 0 and json.loads(out)["text"] == whole[:at]


def test_answers_in_plain_text_are_told_apart(pinfer, tmp_path):
    """Samples by their seeds, prompts by their lines; one answer alone has no title."""
    options = ["--temperature", 1, "--seed", 5, "-n", 2]
    code, out, _ = pinfer("a", *short(*options))
    rows = [json.loads(x) for x in pinfer("a", *short(*options, "--json"))[1].splitlines()]
    first, second = (row["text"] for row in rows)
    assert code == 0
    assert out == f"[1/2] sample 1, seed 5\n{first}\n\n[2/2] sample 2, seed 6\n{second}\n"
    assert [(row["sample"], row["seed"]) for row in rows] == [(0, 5), (1, 6)]
    file = tmp_path / "p.jsonl"
    file.write_text(json.dumps({"prompt": "a"}) + "\n" + json.dumps({"messages": [{}]}) + "\n")
    code, out, _ = pinfer("--prompts", file, *short())
    assert code == 1 and out.startswith(f"[1/2] {file}:1\n")
    title, reason = out.splitlines()[-2:]
    assert title == f"[2/2] {file}:2" and reason.startswith(f"error: {file}:2: message 1")


def test_no_seed_is_a_random_one_that_is_told(pinfer, tmp_path):
    """And a run that goes on takes the one that its file has."""
    out = tmp_path / "out.jsonl"
    sampled = short("--temperature", 1, "--json", "-n", 3, "--output", out)
    code, _, err = pinfer("a", *sampled)
    whole = out.read_text()
    seeds = [json.loads(line)["seed"] for line in whole.splitlines()]
    assert code == 0 and f"no --seed given: drawing with seed {seeds[0]}\n" in err
    assert seeds == list(range(seeds[0], seeds[0] + 3))
    out.write_text(whole.splitlines(keepends=True)[0])
    code, _, err = pinfer("a", *sampled, "--resume")
    assert code == 0 and "no --seed" not in err
    found = [json.loads(line)["token_ids"] for line in out.read_text().splitlines()]
    assert found == [json.loads(line)["token_ids"] for line in whole.splitlines()]
    assert len({tuple(tokens) for tokens in found}) == 3
    _, as_json, err = pinfer("a", *short("--json"))
    assert json.loads(as_json)["seed"] is None and "seed" not in err


def test_a_key_that_an_answer_has_is_refused_at_the_start(pinfer, tmp_path):
    file = tmp_path / "p.jsonl"
    for key in sorted(ANSWER_KEYS):
        file.write_text(json.dumps({"prompt": "a"}) + "\n" + json.dumps({"prompt": "b", key: 1}))
        code, out, err = pinfer("--prompts", file, "--json", "--model", "nowhere", model=False)
        assert (code, out) == (1, "")
        assert err == f'error: {file}:2: "{key}" is a key of the answer; give it another name\n'
    code, out, _ = pinfer("--prompts", file, *short())  # in plain text there are none
    assert code == 0
    asked = ["--json", "--logprobs", 1, "--stop", "@@", "--temperature", 1, "--seed", 1]
    row = json.loads(pinfer("a", *short(*asked))[1])
    assert set(row) - {"prompt"} <= ANSWER_KEYS


def test_a_line_break_is_a_stop_string(pinfer):
    """As a shell's user writes it."""
    assert unescape(r"\n\tx\r") == "\n\tx\r" and unescape(r"\\n \b") == r"\n \b"
    options = ["--json", "--mode", "linear", "--temperature", 1, "--seed", 3]
    code, out, _ = pinfer("a", *short(*options, "--stop", r"\n", "--stop", r"\t", "--stop", " "))
    row = json.loads(out)
    assert code == 0 and row["stop_reason"] in (" ", "\n", "\t", None)
    assert not set(row["text"]) & set(" \n\t")


def test_logprobs_need_a_place(pinfer):
    code, out, err = pinfer("a", *short("--logprobs", 2))
    assert (code, out) == (2, "") and "--logprobs needs --json" in err


def test_until_the_context_ends(pinfer):
    """A number that is larger than the context, or -1, is no more than it has room for."""
    options = ["--json", "--device", "cpu", "--mode", "linear", "--stop", " "]
    rows = [
        json.loads(pinfer("a", *options, "--max-new-tokens", n)[1]) for n in (-1, 1_000_000, 2**40)
    ]
    assert len({tuple(row["token_ids"]) for row in rows}) == 1
    code, out, err = pinfer("a", *short("--max-new-tokens", 1_000_000, "--timeout", 0.5, "--json"))
    assert code == 0 and json.loads(out)["token_ids"], err


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


def test_an_interrupt_exits_with_130(pinfer, monkeypatch):
    from pinfer import engine

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(engine.Engine, "from_pretrained", interrupted)
    assert pinfer("a", *short())[0] == 130


@pytest.mark.parametrize("how", [[], ["--json"]])
def test_an_answer_that_breaks_off_says_why(pinfer, monkeypatch, how):
    """What is written is printed, the line says what failed, and the exit code is 1."""
    from pinfer.request import marker_controller

    plain, calls = marker_controller.push, []

    def push(lane, token, injected, spec):
        plain(lane, token, injected, spec)
        calls.append(token)
        answers = lane.request.params.max_new_tokens == 20  # the load-time probe decodes, too
        if answers and len(calls) > 20:
            raise ValueError("this went wrong")

    monkeypatch.setattr(marker_controller, "push", push)
    code, out, err = pinfer("Go on.", "--max-new-tokens", 20, *how)
    assert code == 1 and "ValueError: this went wrong" in err.splitlines()[-1]
    if how:
        row = json.loads(out)
        assert (row["finish_reason"], row["error"]) == ("error", "ValueError: this went wrong")


@pytest.mark.parametrize("draft", ["auto", "model:{}", "auto:model:{}"])
def test_drafts_of_a_model_change_no_token(pinfer, base, draft):
    """The base drafts for base and adapter; it lacks the markers."""
    options = short("--json", "--max-new-tokens", 60)
    _, plain, _ = pinfer("Check each record.", *options)
    code, out, err = pinfer("Check each record.", *options, "--draft", draft.format(base))
    found, wanted = json.loads(out), json.loads(plain)
    assert code == 0 and found["token_ids"] == wanted["token_ids"], err
    if draft == "model:{}":
        assert found["stats"]["drafted"] > 0


def test_a_model_with_another_tokenizer_is_refused(pinfer, tmp_path):
    tokenizer = train_byte_tokenizer(["other words, other merges " * 3], 290, CHAT_TEMPLATE)
    other = save_base(tmp_path / "other", tokenizer, "llama")
    code, _, err = pinfer("Check.", *short(), "--draft", f"model:{other}")
    assert code == 1 and "its tokenizer is not the model's" in err.splitlines()[-1]
    assert str(other) in err and "Traceback" not in err


def test_drafts_change_passes_and_no_token(pinfer):
    options = short("--json", "--max-new-tokens", 60)
    _, plain, _ = pinfer("Check each record.", *options)
    code, out, err = pinfer("Check each record.", *options, "--draft", "ngram", "--draft-tokens", 3)
    found, wanted = json.loads(out), json.loads(plain)
    assert code == 0 and found["token_ids"] == wanted["token_ids"]
    stats = found["stats"]
    assert sum(stats["accepted_by_position"]) == stats["accepted"] <= stats["drafted"]
    assert len(stats["accepted_by_position"]) <= 3 and stats["drafted"] > 0
    assert stats["passes"] <= wanted["stats"]["passes"]
    code, _, err = pinfer("Check each record.", *options, "--draft", "gram")
    assert code == 1 and "draft 'gram': expected none, ngram, model:NAME, lookahead" in err
    code, _, err = pinfer("Check each record.", *options, "--draft-tokens", "-1")
    assert code == 1 and "draft_tokens -1: expected 0 (none) or more" in err
