"""Muon: its steps are those of torch's own, which computes them in bfloat16."""

import torch

from ptrain.pretrain.muon import Muon, orthogonalise


def test_singular_values_are_driven_towards_one() -> None:
    for shape in ((48, 16), (16, 48), (32, 32)):
        matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        values = torch.linalg.svdvals(orthogonalise(matrix))
        assert 0.3 < values.min() and values.max() < 1.3
        assert orthogonalise(matrix).shape == matrix.shape


def test_steps_are_torchs_up_to_bfloat16() -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(24, 40, generator=generator)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    a = Muon([ours], lr=0.02, weight_decay=0.1)
    b = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(5):
        gradient = torch.randn(24, 40, generator=generator)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        a.step()
        b.step()
    moved = (theirs - start).norm()
    assert moved > 0.1
    assert (ours - theirs).norm() < 0.05 * moved
