"""In bfloat16 a token's logits are the same bits whatever else is in its pass, where that is asked
for; without it they are not."""

import copy
import random
from typing import Any

import pytest
import torch

from pbranch.errors import ModelError
from pinfer.models.build import build_core
from pinfer.models.linear import InPairs
from pinfer.params import EngineLimits
from tests.pinfer.scheduling.test_batching import some_prompts
from tests.support.toy_engine import (
    KNOWN,
    LEAN,
    CheckedRunner,
    Recorder,
    greedy,
    toy_model,
    toy_spec,
)

torch.set_num_threads(1)
WIDE = {"hidden_size": 128, "intermediate_size": 4608}  # matrices that oneDNN packs
KINDS = ("llama", "qwen3", "gemma3")  # the last on the general path


def make(kind: str) -> Any:
    lean = {marker: 3 * value for marker, value in LEAN.items()} if kind == "gemma3" else LEAN
    return toy_model(kind, 2, lean, **WIDE).bfloat16()


def decode(
    model: Any, prompts: list[list[int]], params: Any, invariant: bool = True, **limits: Any
) -> list[dict[Any, torch.Tensor]]:
    """The logits of each request's draws, by path and position."""
    core = build_core(
        copy.deepcopy(model), toy_spec(model), range(KNOWN), owned=True,
        limits=EngineLimits(**limits), batch_invariant=invariant,
    )  # fmt: skip
    record = Recorder()
    core.runner = CheckedRunner(core.runner, record)
    many = params if isinstance(params, list) else [params] * len(prompts)
    requests = [core.scheduler.add(p, q) for p, q in zip(prompts, many, strict=True)]
    while core.busy:
        core.step()
    assert not any(request.error for request in requests)
    found: list[dict[Any, torch.Tensor]] = [{} for _ in prompts]
    for (number, path, position), logits in record.logits.items():
        found[[r.number for r in requests].index(number)][path, position] = logits
    return found


def same_bits(a: dict[Any, torch.Tensor], b: dict[Any, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture(scope="module", params=KINDS)
def model(request: Any) -> Any:
    model = make(request.param)
    try:
        decode(model, [], greedy())
    except ModelError as e:
        pytest.skip(str(e))
    return model


@pytest.mark.parametrize("count", [10, pytest.param(40, marks=pytest.mark.slow)])
def test_alone_in_batches_in_any_order_and_in_passes_of_any_size(model: Any, count: int) -> None:
    prompts, rng = some_prompts(count), random.Random(0)
    params = [greedy(max_new_tokens=24, temperature=i % 2, seed=1) for i in range(count)]
    alone = [decode(model, [p], q)[0] for p, q in zip(prompts, params, strict=True)]
    assert sum(len({path for path, _ in found}) > 2 for found in alone) > count / 4  # they branch
    for size, max_rows in ((2, 512), (3, 1), (7, 5), (16, 64), (16, 16)):
        order = rng.sample(range(count), count)
        for begin in range(0, count, size):
            some = order[begin : begin + size]
            asked = [prompts[i] for i in some], [params[i] for i in some]
            found = decode(model, *asked, max_rows=max_rows)
            assert all(same_bits(a, alone[i]) for a, i in zip(found, some, strict=True))


def test_one_branch_at_a_time(model: Any) -> None:
    prompts = some_prompts(6)
    for width in (1, 2):
        found = decode(model, prompts, greedy(max_new_tokens=40, max_width=width))
        wanted = decode(model, prompts, greedy(max_new_tokens=40))
        assert all(map(same_bits, found, wanted))


def test_without_it_bits_depend_on_the_batch(model: Any) -> None:
    prompts, params = some_prompts(8), greedy(max_new_tokens=24)
    alone = [decode(model, [prompt], params, invariant=False)[0] for prompt in prompts]
    assert not all(map(same_bits, decode(model, prompts, params, invariant=False), alone))


def test_it_is_refused_where_products_depend_on_the_number_of_rows(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def depends(self: InPairs, rows: torch.Tensor) -> torch.Tensor:
        return self.product(rows) * (1 + (rows.shape[-2] == 1) / 64)

    monkeypatch.setattr(InPairs, "__call__", depends)
    with pytest.raises(ModelError, match="batch_invariant: on this machine") as e:
        decode(model, [], greedy())
    assert "\n" not in str(e.value)
