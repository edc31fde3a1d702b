"""Scores of an evaluation against plain computation, and a training run that they leave alone."""

import json
import random
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from pbranch.errors import RecipeError
from pbranch.format.branch_config import BranchConfig
from pbranch.format.layout import Kind, LayoutOptions
from pbranch.format.markers import Role
from pinfer import Engine, SamplingParams
from ptrain.artifacts.artifact import REPORT
from ptrain.config import EvaluationOptions, LoraOptions, Recipe, TrainOptions
from ptrain.data.collator import collate
from ptrain.data.dataset import Encoder, Example
from ptrain.model.base import add_lora, load_base
from ptrain.train import train
from ptrain.trainer.branch_trainer import make_trainer
from ptrain.trainer.evaluate import (
    Answer,
    Generations,
    driving,
    make_generations,
    rate,
    weak_markers,
)
from tests.ptrain.conftest import make_records, write_records
from tests.support.repository import ROOT
from tests.support.run_command import run_command


def recipe(base, data, out, prompts=0, tokens=30, **options) -> Recipe:
    options = {"steps": 4, "batch_rows": 4, "lr": 1e-2, "logging_steps": 1} | options
    return Recipe(
        data=str(data), model=str(base), out=str(out), eval_share=0.2,
        lora=LoraOptions(r=4, alpha=8, dropout=0.1), train=TrainOptions(device="cpu", **options),
        evaluation=EvaluationOptions(prompts=prompts, max_new_tokens=tokens),
    )  # fmt: skip


@pytest.fixture(scope="module")
def live(bases, tmp_path_factory):
    """A trainer over a base whose adapter is not zero, its data and what it is trained for."""
    base = load_base(str(bases["qwen3"]))
    encode = Encoder(base.tokenizer, base.markers, LayoutOptions())
    examples = [
        Example(len(x), x, encode(r, "linear"), r["messages"])
        for r in make_records(12)
        for x in [encode(r)]
    ]
    model = add_lora(base, LoraOptions(r=4))
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1)
        if "token" in name:  # large, so that markers are often the likeliest
            parameter.data.normal_(0, 1)
    settings = recipe(bases["qwen3"], "x", tmp_path_factory.mktemp("live"), prompts=3)
    settings = replace(settings, form="mixed")
    trainer = make_trainer(settings, model, base.tokenizer, examples[:4], examples[4:])
    config = BranchConfig(base.markers.as_dict(), "x", "x", form="mixed")
    return SimpleNamespace(trainer=trainer, base=base, held_out=examples[4:], config=config,
                           recipe=settings)  # fmt: skip


def test_scores_are_those_of_plain_logits(live):
    scores = live.trainer.evaluate()
    losses, hits = {}, {}
    live.trainer.model.eval()
    for example in live.held_out:
        for layout in (example.parallel, example.linear):
            batch = collate([layout])
            with torch.no_grad():
                logits = live.trainer.model(
                    input_ids=batch["input_ids"], position_ids=batch["position_ids"],
                    attention_mask=batch["attention_mask"], use_cache=False,
                ).logits[0]  # fmt: skip
            for row, (target, kind) in enumerate(zip(layout.targets, layout.kinds, strict=True)):
                if target >= 0:
                    loss = -logits[row].log_softmax(-1)[target].item()
                    losses.setdefault(Kind(kind), []).append(loss)
                    if role := live.base.markers.role(target):
                        hits.setdefault(role, []).append(logits[row].argmax().item() == target)
    for kind in set(Kind) - {Kind.PROMPT}:
        mean = sum(losses[kind]) / len(losses[kind])
        assert scores[f"eval_loss_{kind.name.lower()}"] == pytest.approx(mean, rel=1e-4)
    branched = [x for kind, found in losses.items() if kind is not Kind.LINEAR for x in found]
    assert scores["eval_loss"] == pytest.approx(sum(branched) / len(branched), rel=1e-4)
    assert set(hits) == {Role.FORK, Role.TOPIC, Role.SPAWN, Role.END}
    for role, found in hits.items():
        assert scores[f"eval_accuracy_{role}"] == pytest.approx(sum(found) / len(found))
    means = [sum(found) / len(found) for found in hits.values()]
    assert scores["eval_marker_accuracy"] == pytest.approx(sum(means) / len(means))
    every = [x for found in hits.values() for x in found]
    assert 0 < sum(every) < len(every)  # else the accuracies above would say little


def test_driving_the_engine_leaves_the_model_as_it_was(live):
    model = live.trainer.model
    model.train()
    next(model.modules()).training = False  # put back one by one, not by model.train()
    made = make_generations(live.recipe.evaluation, live.trainer, live.held_out, live.config)

    def state():
        return (
            [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks), m.__dict__.keys())
             for m in model.modules()],
            model.config._attn_implementation, model.config.use_cache,
            [p.requires_grad for p in model.parameters()],
            [getattr(m, "gradient_checkpointing", None) for m in model.modules()],
            torch.get_rng_state().tolist(), random.getstate(),
        )  # fmt: skip

    before, weights = state(), [p.clone() for p in model.parameters()]
    scores = made.scores(model)
    assert {"eval_format_rate", "eval_mean_branches", "eval_format_rate_linear"} <= set(scores)
    assert state() == before
    assert all(map(torch.equal, weights, model.parameters()))
    with pytest.raises(KeyError), driving(model, made.tokenizer, live.config):
        raise KeyError
    assert state() == before


@pytest.mark.slow
@pytest.mark.parametrize("option", [{"gradient_checkpointing": True}, {"dtype": "bfloat16"}])
def test_generations_change_no_bit_of_a_run(bases, data, tmp_path, option):
    logs, weights = [], []
    for prompts in (0, 3):
        settings = recipe(bases["llama"], data, tmp_path / f"{prompts}", prompts, eval_steps=2)
        out = train(replace(settings, train=replace(settings.train, **option)))
        state = json.loads((out / "checkpoint-4" / "trainer_state.json").read_text())
        logs.append([(x["step"], x["loss"]) for x in state["log_history"] if "loss" in x])
        weights.append(load_file(out / "adapter_model.safetensors"))
    assert logs[0] == logs[1] and len(logs[0]) == 4
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    found = [x for x in state["log_history"] if "eval_format_rate" in x]
    assert [x["step"] for x in found] == [2, 4]
    report = json.loads((out / REPORT).read_text())
    for key in ("eval_marker_accuracy", "eval_format_rate", "eval_mean_branches"):
        assert report[key] == round(found[-1][key], 4)
    assert "eval_runtime" not in report


@pytest.mark.slow
def test_answers_are_those_of_the_saved_adapter(bases, data, tmp_path):
    options = recipe(bases["qwen3"], data, tmp_path / "run", prompts=4)
    kept = {}

    def keep(self, model):
        with driving(model, self.tokenizer, self.config) as engine:
            prompts = [x.messages for x in self.examples]
            for x, g in zip(
                prompts, engine.generate(prompts, self.params("parallel")), strict=True
            ):
                kept[json.dumps(x)] = g.token_ids
        return {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Generations, "scores", keep)
        folder = train(options)
    engine = Engine.from_pretrained(str(bases["qwen3"]), str(folder), device="cpu")
    params = SamplingParams(max_new_tokens=30, grammar="off")
    assert len(kept) == 4
    for messages, token_ids in kept.items():
        assert engine.generate([json.loads(messages)], params)[0].token_ids == token_ids


def test_rates():
    def answer(to_fork, well_formed, branches, tokens=6, passes=3):
        return Answer(to_fork, well_formed, branches, tokens, passes)

    answers = [answer(True, True, 4), answer(True, False, 2, 12, 5), answer(False, True, 0, 4, 4)]
    assert rate([*answers, answer(True, True, 0)], "parallel") == {
        "eval_prompts": 4,
        "eval_prompts_to_fork": 3,
        "eval_format_rate": 3 / 4,
        "eval_fork_rate": 2 / 3,
        "eval_no_fork_rate": 1.0,
        "eval_mean_branches": 3.0,
        "eval_tokens_per_pass": 28 / 15,
    }
    assert rate(answers, "linear") == {"eval_format_rate_linear": 2 / 3}
    assert rate([answer(False, True, 0, 1, 0)], "parallel")["eval_tokens_per_pass"] == 1


def test_a_prompt_that_can_never_be_decoded_is_said_before_training(live, capsys):
    long = Example(9, live.held_out[0].parallel, None, [{"role": "user", "content": "a " * 600}])
    assert make_generations(live.recipe.evaluation, live.trainer, [long], live.config) is None
    said = capsys.readouterr().err
    assert said.startswith("no generations while training: ") and "context holds 512" in said


def test_sharded_weights_generate_nothing_and_say_so(live, capsys):
    sharded = SimpleNamespace(is_fsdp_enabled=True, is_world_process_zero=lambda: True)
    assert make_generations(live.recipe.evaluation, sharded, live.held_out, live.config) is None
    assert capsys.readouterr().err.count("no generations while training") == 1


def test_prompts_are_spread_over_the_held_out_data(live):
    made = make_generations(live.recipe.evaluation, live.trainer, live.held_out * 2, live.config)
    assert [x.messages for x in made.examples] == [live.held_out[i].messages for i in (0, 2, 5)]


def test_a_fork_that_is_never_right_is_said_by_name(bases, data, tmp_path, capsys):
    """An average over all markers would hide it: topics and ends are many."""
    options = recipe(bases["qwen3"], data, tmp_path / "run", prompts=4, steps=2)
    out = train(replace(options, eval_share=0.3))
    said = capsys.readouterr().err.splitlines()
    report = json.loads((out / REPORT).read_text())
    assert report["eval_accuracy_fork"] < 0.5
    warnings = [x for x in said if x.startswith("warning: of these markers")]
    assert len(warnings) == 1 and f"fork {report['eval_accuracy_fork']:.2f}" in warnings[0]
    assert "train.marker_lr" in warnings[0]
    (line,) = (x for x in said if "held-out loss" in x)
    assert f"right: fork {report['eval_accuracy_fork']:.2f}, topic " in line
    count = report["eval_prompts_to_fork"]
    assert f"{round(report['eval_fork_rate'] * count)} of {count} prompts fork" in line
    (last,) = report["evaluations"]
    assert last["step"] == 2 and last["eval_accuracy_fork"] == report["eval_accuracy_fork"]


def test_held_out_traces_without_a_fork_are_said(bases, data, tmp_path, capsys):
    """Nothing else would tell that fork and spawn were never measured."""
    chains = write_records(tmp_path / "chains.jsonl", make_records(3, depth=0))
    options = recipe(bases["qwen3"], data, tmp_path / "run", steps=1)
    train(replace(options, eval_data=str(chains), eval_share=0.0))
    assert "warning: no held-out trace forks: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("scores", "weak"),
    [
        ({"eval_accuracy_fork": 0.49, "eval_accuracy_spawn": 0.5}, {"fork": 0.49}),
        ({"eval_accuracy_fork": 1.0, "eval_accuracy_spawn": 0.0}, {"spawn": 0.0}),
        ({"eval_accuracy_topic": 0.1}, {}),
        ({}, {}),
    ],
)
def test_fork_and_spawn_are_what_a_model_needs_to_fork(scores, weak):
    assert weak_markers(scores) == weak


@pytest.mark.slow
def test_tensorboard_gets_every_score(bases, data, tmp_path, capsys):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    options = {"report_to": "tensorboard", "eval_steps": 3}
    out = train(recipe(bases["qwen3"], data, tmp_path / "run", prompts=8, **options))
    found: dict[str, list[float]] = {}
    for file in sorted(out.rglob("events.out.tfevents.*")):
        events = reader.EventAccumulator(str(file)).Reload()
        for tag in events.Tags()["scalars"]:
            found.setdefault(tag, []).extend((x.step, x.value) for x in events.Scalars(tag))
    report = json.loads((out / REPORT).read_text())
    scores = [key for key in report if key.startswith("eval_")]
    assert len(scores) > 10
    for key in scores:
        steps, values = zip(*found[key.replace("eval_", "eval/", 1)], strict=True)
        assert steps == (3, 4) and values[-1] == pytest.approx(report[key], abs=1e-4)
    assert len(found["train/loss"]) == 4
    lines = [x for x in capsys.readouterr().err.splitlines() if "held-out loss" in x]
    assert (
        len(lines) == 2
        and "right: fork " in lines[0]
        and "prompts fork" in lines[0]
        and "format kept" in lines[0]
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [("trakio", "trakio is not known"), ("comet_ml", "comet_ml is not installed")],
)
def test_a_reporter_that_is_missing_is_named_before_anything_is_loaded(name, message, tmp_path):
    with pytest.raises(RecipeError, match=rf"train\.report_to: {message}; expected none, all"):
        train(recipe(tmp_path / "no-model", "no-data", tmp_path, report_to=name))


def test_nothing_held_out_is_said_and_trains_without_evaluation(bases, data, tmp_path, capsys):
    options = recipe(bases["qwen3"], data, tmp_path / "run", prompts=2, steps=2, eval_steps=1)
    out = train(replace(options, eval_share=0.0))
    assert capsys.readouterr().err.count("no evaluation: nothing is held out") == 1
    report = json.loads((out / REPORT).read_text())
    assert report["steps"] == 2 and not any(k.startswith("eval_") for k in report)


@pytest.mark.slow
def test_two_processes_share_the_prompts_and_train_the_same_forms(bases, data, tmp_path):
    reports = []
    for count in (1, 2):
        launch = f"recipes/accelerate/cpu{count}.yaml"
        settings = [
            f"model={bases['llama']}", f"data={data}", f"out={tmp_path / str(count)}", "lora.r=2",
            "form=mixed", "switch.parallel=Fork.", "switch.linear=One by one.", "eval_share=0.2",
            "train.steps=2", "train.batch_rows=4", "train.lr=1e-6", "train.device=cpu",
            "evaluation.prompts=3", "evaluation.max_new_tokens=20",
        ]  # fmt: skip
        command = [Path(sys.executable).parent / "accelerate", "launch", "--config_file", launch]
        command += ["-m", "ptrain", "recipes/sft.yaml", *settings]
        run_command(*command, cwd=ROOT).check_returncode()
        reports.append(json.loads((tmp_path / str(count) / REPORT).read_text()))
    one, two = reports
    assert (one["processes"], two["processes"]) == (1, 2)
    scores = [key for key in one if key.startswith(("eval_", "loss_"))]
    assert "eval_tokens_per_pass" in scores and "eval_format_rate_linear" in scores
    for key in scores:
        assert one[key] == pytest.approx(two[key], abs=1e-3), key


def test_a_model_that_the_probe_refuses_is_said_and_the_run_goes_on(live, capsys, monkeypatch):
    made = make_generations(live.recipe.evaluation, live.trainer, live.held_out, live.config)
    before = live.trainer.model.config._attn_implementation
    forward = live.base.model.get_decoder().layers[0].forward
    monkeypatch.setattr(
        live.base.model.get_decoder().layers[0], "forward",
        lambda x, **kwargs: forward(x * (1 + ("branch_view" in kwargs)), **kwargs),
    )  # fmt: skip
    assert made.scores(live.trainer.model) == {}
    assert capsys.readouterr().err.count("no generations at this evaluation: ") == 2  # forms
    assert live.trainer.model.config._attn_implementation == before
