"""Publishing through the real client to a Hub on loopback: round trip, breaks and refusals."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pbranch.errors import AdapterError
from pbranch.format.branch_config import load_branch_config
from ptrain.artifacts.merge import merge
from ptrain.artifacts.publish import publish
from tests.support.fake_hub import Hub

SENT = {
    "README.md", "adapter_config.json", "adapter_model.safetensors", "branch_config.json",
    "chat_template.jinja", "recipe.yaml", "tokenizer.json", "tokenizer_config.json",
    "train_report.json",
}  # fmt: skip
PUBLISH = ("-m", "ptrain.cli", "publish")
PUT = "PUT /lfs/"


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a known error is."""
    assert done.returncode == 1 and done.stdout == "", done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [s for s in done.stderr.splitlines() if s.startswith("error: ")]
    return line.removeprefix("error: ")


def send(hub: Hub, home: Path, folder: Path, *options: Any, **more: Any) -> Any:
    """`ptrain publish FOLDER me/x --base me/base OPTIONS`."""
    command = (*PUBLISH, folder, "me/x", "--base", "me/base", *options)
    return hub.run(home, *command, **more)


@pytest.mark.parametrize("name", ["tokenizer.json", "train_report.json", "recipe.yaml"])
def test_a_link_out_of_the_folder_is_not_followed(adapter, tmp_path, name):
    folder, secret = Path(shutil.copytree(adapter, tmp_path / "linked")), tmp_path / "secret"
    secret.write_bytes((folder / name).read_bytes())
    (folder / name).unlink()
    (folder / name).symlink_to(secret)
    with pytest.raises(AdapterError, match=f"{name}: a link out of its folder"):
        publish(folder, "me/x", base="me/base", dry_run=True)
    if name != "tokenizer.json":  # what a merge would copy as it is
        with pytest.raises(AdapterError, match="a link out of its folder"):
            merge(folder, tmp_path / "merged")
    (folder / name).unlink()
    (folder / name).write_bytes(secret.read_bytes())
    (folder / "events.log").unlink()
    (folder / "events.log").symlink_to("/etc/passwd")  # is never sent
    publish(folder, "me/x", base="me/base", dry_run=True)


def test_the_links_of_the_hubs_cache_are_files(adapter, tmp_path):
    cache = tmp_path / "models--me--x"
    folder = Path(shutil.copytree(adapter, cache / "snapshots" / "1f"))
    (cache / "blobs").mkdir()
    shutil.move(folder / "tokenizer.json", cache / "blobs" / "2a")
    (folder / "tokenizer.json").symlink_to("../../blobs/2a")
    assert "tokenizer.json" in publish(folder, "me/x", base="me/base", dry_run=True).files


def front_matter(card: bytes) -> dict[str, Any]:
    return yaml.safe_load(card.decode().split("---\n")[1])


def test_what_is_published_is_loaded_and_decoded_alike(hub, adapter, bases, tmp_path):
    from pinfer import Engine, SamplingParams

    hub.add("me/base", bases["qwen3"])
    done = send(hub, tmp_path, adapter)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{hub.url}/me/x" and "sending 9 files" in done.stderr
    assert set(hub.repos["me/x"].files) == SENT | {".gitattributes"}
    hub.repos["me/x"].files["checkpoint-2/optimizer.pt"] = b"nobody fetches this"
    hub.repos["me/x"].files["model.safetensors"] = b"nor this"
    found = hub.run(
        tmp_path, "-m", "pinfer", "generate", "--adapter", "me/x", "--json",
        "--max-new-tokens", "24", "--device", "cpu", "check each",
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    engine = Engine.from_pretrained(adapter=str(adapter), device="cpu")
    (answer,) = engine.generate(["check each"], SamplingParams(max_new_tokens=24))
    assert json.loads(found.stdout)["token_ids"] == answer.token_ids and answer.token_ids
    fetched = {r.rpartition("/")[2] for r in hub.requests if r.startswith("GET /me/x/resolve/")}
    assert fetched == SENT - {"README.md"}


def test_look_ahead_files_go_along(hub, adapter, bases, tmp_path):
    """They are sent with their adapter, fetched alone, and refused beside another one."""
    from pbranch.hf.lookahead.files import LookaheadConfig, adapter_digest

    folder = tmp_path / "adapter"
    shutil.copytree(adapter, folder)
    config = LookaheadConfig("here", "2-9-0123456789abcdef", adapter_digest(folder), 2, 0, 0, 32)
    config.save(folder)
    (folder / "lookahead.safetensors").write_bytes(b"weights")
    done = send(hub, tmp_path, folder)
    assert done.returncode == 0 and "sending 11 files" in done.stderr, done.stderr
    files = hub.repos["me/x"].files
    assert json.loads(files["lookahead_config.json"])["base_model"] == "me/base"
    assert b"--draft lookahead:me/x" in files["README.md"]
    hub.requests.clear()
    fetch = "from pbranch.hf.hub import fetch_lookahead as f; print(f('me/x'))"
    found = Path(hub.run(tmp_path, "-c", fetch).stdout.strip())
    names = {"lookahead.safetensors", "lookahead_config.json"}
    assert {p.name for p in found.iterdir()} == names
    assert (found / "lookahead.safetensors").read_bytes() == b"weights"
    replace(config, adapter=None).save(folder)
    assert "lookahead_config.json: of another adapter" in error_of(send(hub, tmp_path, folder))


@pytest.mark.slow
def test_a_merged_model_makes_the_same_journey(hub, adapter, bases, tmp_path):
    """As an adapter to the Hub, merged from there, and as a model to the Hub and back."""
    hub.add("me/base", bases["qwen3"])
    assert send(hub, tmp_path, adapter).returncode == 0
    out = tmp_path / "merged"
    done = hub.run(tmp_path, "-m", "ptrain.cli", "merge", "me/x", "--out", out)
    assert done.returncode == 0 and done.stdout.strip() == str(out), done.stderr
    done = hub.run(tmp_path, *PUBLISH, out, "me/merged")
    assert done.returncode == 0, done.stderr
    card = hub.repos["me/merged"].files["README.md"]
    assert front_matter(card)["base_model"] == "me/base"
    answers = []
    for options in (["--model", "me/merged"], ["--adapter", adapter]):
        found = hub.run(
            tmp_path, "-m", "pinfer", "generate", *options, "--json", "--max-new-tokens", "24",
            "--device", "cpu", "check each",
        )  # fmt: skip
        assert found.returncode == 0, found.stderr
        answers.append(json.loads(found.stdout)["token_ids"])
    assert answers[0] == answers[1]


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--model", "--adapter"])
def test_what_pinfer_cannot_load_is_one_line(hub, tmp_path, option):
    for name, token, more, said in (
        ("me/none", "hf_write", {}, "no such repository"),
        ("me/none", "hf_wrong", {}, "the token is not valid; log in by"),
        ("me/none", "hf_write", {"HF_HUB_OFFLINE": "1"}, "" if option == "--model" else "OFFLINE"),
    ):
        command = ("-m", "pinfer", "generate", option, name, "--device", "cpu", "a")
        line = error_of(hub.run(tmp_path, *command, token=token, **more))
        assert name in line and said in line


def test_why_an_adapter_cannot_be_fetched_is_said(hub, adapter, tmp_path):
    def fetch(name, **more):
        code = "import sys; from pbranch import console\nfrom pbranch.hf import hub\n"
        code += "console.run(lambda: print(hub.fetch_adapter(sys.argv[1])))"
        return hub.run(tmp_path, "-c", code, name, **more)

    hub.add("me/a", adapter)
    for name, more, said in (
        ("me/none", {}, "no such repository, or a private one: the token may not read it"),
        ("me/a", {"token": "hf_wrong"}, "the token is not valid; log in by"),
        ("me/a", {"HF_HUB_OFFLINE": "1"}, "not in the cache, and HF_HUB_OFFLINE is set"),
        ("me/a", {"HF_ENDPOINT": "http://127.0.0.1:9"}, "cannot reach the Hub ("),
        ("me/a..b", {}, "not a name of the Hub; expected owner/name"),
    ):
        line = error_of(fetch(name, **more))
        assert line.startswith(f"adapter {name}: no such folder, nor on the Hub: {said}"), line
    path = error_of(fetch("runs/sft/x"))  # the Hub is not asked
    assert path == "adapter runs/sft/x: no such folder; expected a folder or a Hub id"
    folder = fetch("me/a").stdout
    names = {p.name for p in Path(folder.strip()).iterdir()}
    assert names == SENT - {"README.md"}  # no log, no optimizer states
    assert fetch("me/a", HF_HUB_OFFLINE="1").stdout == folder


def test_the_same_again_changes_nothing_and_the_card_is_of_this_run(hub, adapter, tmp_path):
    assert send(hub, tmp_path, adapter, "--license", "apache-2.0").returncode == 0
    done = send(hub, tmp_path, adapter, "--license", "apache-2.0")
    assert done.returncode == 0 and "nothing has changed" in done.stderr
    assert done.stdout.strip() == f"{hub.url}/me/x"
    assert hub.repos["me/x"].commits == 1 and hub.count(PUT) == 1
    files = hub.repos["me/x"].files
    card, report = files["README.md"], json.loads((adapter / "train_report.json").read_text())
    head = front_matter(card)
    assert head["base_model"] == "me/base" and head["library_name"] == "peft"
    assert head["license"] == "apache-2.0" and "datasets" not in head
    (result,) = head["model-index"][0]["results"]
    numbers = {m["name"]: m["value"] for m in result["metrics"]}
    assert numbers == {k: v for k, v in report.items() if k.startswith("eval_")}
    assert {"eval_loss", "eval_loss_body", "eval_marker_accuracy"} <= set(numbers)
    text = card.decode()
    assert all(f"| `{k}` | {v} |" in text for k, v in numbers.items())
    assert "pinfer generate --adapter me/x " in text and "derails after the outline" in text
    assert "steps 4" in text and f"{report['traces']} traces trained on" in text
    # the base of this machine is named nowhere
    folder = str(Path(load_branch_config(adapter).base_model))
    assert all(folder.encode() not in files[name] for name in SENT)
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "me/base"
    assert json.loads(files["branch_config.json"])["base_model"] == "me/base"


def test_a_private_repository_is_private(hub, adapter, tmp_path):
    assert send(hub, tmp_path, adapter, "--private").returncode == 0
    assert hub.repos["me/x"].private
    fetch = ("-c", "from pbranch.hf.hub import fetch_adapter; print(fetch_adapter('me/x'))")
    assert hub.run(tmp_path / "a", *fetch, token="hf_read").returncode == 0
    done = hub.run(tmp_path / "b", *fetch, token=None)
    assert "no such repository, or a private one: log in by" in done.stderr
    hub.repos["me/x"].private = False
    assert "exists and is public; nothing was sent" in error_of(
        send(hub, tmp_path, adapter, "--private", "--force")
    )


def test_a_killed_upload_is_completed_by_the_same_command(hub, adapter, tmp_path):
    hub.hang = True
    process = subprocess.Popen(
        [sys.executable, *PUBLISH, str(adapter), "me/x", "--base", "me/base"],
        env=hub.environment(tmp_path), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert hub.reached.wait(60)
    process.kill()
    process.wait()
    hub.release.set()
    assert set(hub.repos["me/x"].files) == {".gitattributes"}  # made, and nothing in it
    done = send(hub, tmp_path, adapter)
    assert done.returncode == 0, done.stderr
    assert set(hub.repos["me/x"].files) == SENT | {".gitattributes"}


def test_a_commit_of_somebody_else_meanwhile_is_not_replaced(hub, adapter, tmp_path):
    hub.hang = True
    process = subprocess.Popen(
        [sys.executable, *PUBLISH, str(adapter), "me/x", "--base", "me/base"],
        env=hub.environment(tmp_path), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert hub.reached.wait(60)
    hub.repos["me/x"].files["README.md"] = b"theirs"
    hub.repos["me/x"].commits += 1
    hub.release.set()  # the upload breaks off, and the client mends that
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1 and "A commit has happened since; nothing was pub" in said
    assert hub.repos["me/x"].files["README.md"] == b"theirs" and hub.count(PUT) == 2


@pytest.mark.slow  # the client tries six times, 23 s in all
def test_a_cut_connection_is_one_line_and_the_same_command_goes_on(hub, adapter, tmp_path):
    hub.cut = 6
    line = error_of(send(hub, tmp_path, adapter))
    assert "me/x: cannot publish: Error while uploading 'adapter_model.safetensors'" in line
    assert "the connection broke" in line
    assert line.endswith("nothing was published, the same command goes on")
    assert hub.count(PUT) == 6 and hub.cut == 0
    done = send(hub, tmp_path, adapter)
    assert done.returncode == 0, done.stderr
    weights = (adapter / "adapter_model.safetensors").read_bytes()
    assert hub.repos["me/x"].files["adapter_model.safetensors"] == weights


def test_weights_are_not_sent_twice(hub, adapter, tmp_path):
    """The upload is cut once, which the client mends; then the answer to the commit is lost."""
    hub.cut = hub.lose = 1
    line = error_of(send(hub, tmp_path, adapter))
    assert "the connection broke" in line and line.endswith("the same command goes on")
    assert hub.count(PUT) == 2
    done = send(hub, tmp_path, adapter)
    assert done.returncode == 0, done.stderr
    assert hub.count(PUT) == 2 and hub.repos["me/x"].commits == 1


def test_nothing_is_replaced_unless_forced(hub, adapter, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for name in ("recipe.yaml", "README.md", "model.safetensors", "figure.png"):
        (other / name).write_text("mine")
    hub.add("me/x", other)
    before = dict(hub.repos["me/x"].files)
    line = error_of(send(hub, tmp_path, adapter))
    assert line == (
        "me/x: has README.md, recipe.yaml, model.safetensors already; nothing was sent "
        "(--force replaces)"
    )
    assert hub.repos["me/x"].files == before and hub.count(PUT) == 0
    done = send(hub, tmp_path, adapter, "--force", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["removed"] == ["model.safetensors"] and set(told["sent"]) == SENT
    # weights of another kind are gone, a file that is none of ours stays
    assert set(hub.repos["me/x"].files) == SENT | {".gitattributes", "figure.png"}


def test_a_readme_that_the_hub_made_is_no_content(hub, adapter, tmp_path):
    made = tmp_path / "made"
    made.mkdir()
    (made / "README.md").write_text("---\nlicense: mit\n---\n")
    hub.add("me/x", made)
    done = send(hub, tmp_path, adapter)
    assert done.returncode == 0, done.stderr
    assert b"Parallel branches" in hub.repos["me/x"].files["README.md"]


@pytest.mark.parametrize(
    ("token", "said", "requests"),
    [
        ("hf_wrong", "the token is not valid; log in by `hf auth login`, or set HF_TOKEN", True),
        (None, "publishing needs a token; log in by `hf auth login`, or set HF_TOKEN", False),
        ("hf_read", "the token may not do this (you may not create repositories); use", True),
    ],
)
def test_tokens_that_do_not_do(hub, adapter, tmp_path, token, said, requests):
    line = error_of(send(hub, tmp_path, adapter, token=token))
    assert line.startswith("me/x: ") and said in line
    assert hub.repos == {} and bool(hub.requests) == requests


def test_a_hub_that_is_not_there_is_one_line(hub, adapter, tmp_path):
    line = error_of(send(hub, tmp_path, adapter, HF_ENDPOINT="http://127.0.0.1:9"))
    assert line.startswith("me/x: cannot publish: cannot reach the Hub (")
    line = error_of(send(hub, tmp_path, adapter, HF_HUB_OFFLINE="1"))
    assert "HF_HUB_OFFLINE is set" in line and hub.requests == []


def test_a_license_that_the_hub_does_not_know_is_one_line(hub, adapter, tmp_path):
    line = error_of(send(hub, tmp_path, adapter, "--license", "mine"))
    assert '"license" must be one of [apache-2.0' in line and hub.count(PUT) == 0


def test_a_dry_run_asks_nobody(hub, adapter, tmp_path):
    done = send(hub, tmp_path, adapter, "--dry-run", token=None)
    assert done.returncode == 0, done.stderr
    size = (adapter / "adapter_model.safetensors").stat().st_size
    assert f"{size:,}  adapter_model.safetensors" in done.stdout
    assert "base_model: me/base" in done.stdout and "nothing was sent" in done.stdout
    told = json.loads(send(hub, tmp_path, adapter, "--dry-run", "--json", token=None).stdout)
    assert set(told["files"]) == SENT and told["dry_run"] and told["url"] is None
    assert yaml.safe_load(told["front_matter"])["base_model"] == "me/base"
    assert hub.requests == []


BROKEN = {
    "no base on the Hub": (lambda f: None, r"its base is the folder .*name the base on the Hub by"),
    "no weights": (lambda f: (f / "adapter_model.safetensors").unlink(), "no adapter_model.safe"),
    "no recipe": (lambda f: (f / "recipe.yaml").unlink(), "no recipe.yaml; expected"),
    "torn report": (lambda f: (f / "train_report.json").write_text("{"), "report.json: not JSON"),
    "no folder": (shutil.rmtree, "no such folder"),
}


@pytest.mark.parametrize("spoil, said", BROKEN.values(), ids=BROKEN)
def test_a_folder_that_cannot_be_sent_is_refused(adapter, tmp_path, spoil, said):
    from pbranch.errors import AdapterError
    from ptrain.artifacts.publish import publish

    folder = Path(shutil.copytree(adapter, tmp_path / "a"))
    spoil(folder)
    with pytest.raises(AdapterError, match=said) as caught:
        publish(folder, "me/x", dry_run=True)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_of_a_model_in_parts_all_parts_are_sent_and_nothing_else(adapter, tmp_path):
    from pbranch.errors import AdapterError
    from ptrain.artifacts.publish import publish

    folder = Path(shutil.copytree(adapter, tmp_path / "a"))
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / name).unlink()
    parts = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    index = {"weight_map": {"a": parts[0], "b": parts[1], "c": parts[1]}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for name in ("config.json", "training_args.bin", parts[0]):
        (folder / name).write_text("{}")
    with pytest.raises(AdapterError, match=f"no {parts[1]}; expected a folder that ptrain has fi"):
        publish(folder, "me/x", dry_run=True)
    (folder / parts[1]).write_text("{}")
    plan = publish(
        folder, "me/x", dry_run=True
    )  # its base is a folder, which a model has no need of
    model = {"config.json", "model.safetensors.index.json", *parts}
    assert set(plan.files) == {n for n in SENT if not n.startswith("adapter_")} | model


def test_names_that_the_hub_would_not_take_are_refused(adapter):
    from pbranch.errors import HubError
    from ptrain.artifacts.publish import publish

    for repo_id, base in (("me/x/y", None), ("me/x", "/a/folder"), ("x", "me/base")):
        with pytest.raises(HubError, match=r"not a name .*; expected owner/name"):
            publish(adapter, repo_id, base=base, dry_run=True)
