"""The engine on a GPU gives the tokens that it gives on a CPU (float32, tiny random models)."""

import pytest
import torch

from tests.conftest import MODEL_KINDS
from tests.support.toy_engine import Toy, greedy, toy_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_tokens_are_those_of_a_cpu(kind: str) -> None:
    model = toy_model(kind)  # float64: rounding cannot decide a token
    prompts = [[1, 2, 3], [4, 5], [7]]
    on_cpu = Toy(model).tokens(prompts, greedy())
    assert Toy(model.cuda()).tokens(prompts, greedy()) == on_cpu
