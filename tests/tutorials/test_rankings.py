"""Scores from peers, against ours where they are the same."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from captum_tfa import GradDotScore, ScoreInfluence
from common.rankings import EKFAC, arnoldi, feature_similarity, rankings, tracin, tracin_fast, trak

generator = torch.Generator().manual_seed(0)
TRAIN = TensorDataset(
    torch.randn(70, 4, generator=generator), torch.randint(0, 3, (70,), generator=generator)
)
QUERIES = TensorDataset(torch.randn(5, 4, generator=generator), torch.tensor([0, 1, 2, 0, 1]))


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval()


def test_tracin_of_captum_is_the_sum_of_our_grad_dot_over_checkpoints() -> None:
    model, states = network(), [network(seed).state_dict() for seed in (1, 2)]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ours = sum(
        ScoreInfluence(GradDotScore(network(seed)), TRAIN).influence(QUERIES.tensors)
        for seed in (1, 2)
    )
    torch.testing.assert_close(tracin(model, states, TRAIN, QUERIES), ours, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_features_are_what_the_last_layer_is_given() -> None:
    model = network()
    found = feature_similarity(model, TRAIN.tensors[0], QUERIES.tensors[0])
    features = [model[1](model[0](data.tensors[0])) for data in (QUERIES, TRAIN)]
    wanted = nn.functional.cosine_similarity(features[0][:, None], features[1][None], dim=2)
    torch.testing.assert_close(found, wanted.detach())


def test_all_have_one_number_a_pair() -> None:
    found = rankings(network(), TRAIN, QUERIES)
    assert {tuple(scores.shape) for scores in found.values()} == {(5, 70)}


def test_ekfac_agrees_in_sign_with_gradients_on_itself() -> None:
    pytest.importorskip("kronfluence")
    model = network()
    asked = TensorDataset(*(tensor[:6] for tensor in TRAIN.tensors))
    pairs, itself = EKFAC(model, TRAIN).scores(asked)
    assert (itself > 0).all()  # g H⁻¹ g of a positive matrix
    torch.testing.assert_close(pairs.diagonal(), itself[:6], rtol=1e-3, atol=1e-5)


def test_tracin_of_the_last_layer_is_grad_dot_of_that_layer() -> None:
    model, states = network(), [network(seed).state_dict() for seed in (1, 2)]
    parts = [
        ScoreInfluence(GradDotScore(network(seed), parameters=["2.weight"]), TRAIN)
        for seed in (1, 2)
    ]
    pairs, itself = tracin_fast(model, states, TRAIN, QUERIES)
    ours = sum(part.influence(QUERIES.tensors) for part in parts)
    torch.testing.assert_close(pairs, ours, rtol=1e-4, atol=1e-5)
    own = sum(part.self_influence() for part in parts)
    torch.testing.assert_close(itself, own, rtol=1e-4, atol=1e-5)


def test_arnoldi_of_captum_leaves_the_model_as_it_was() -> None:
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = arnoldi(model, TRAIN, QUERIES, examples=40, steps=12)
    assert found.shape == (5, 70)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_trak_of_traker_is_near_the_formula_without_projection() -> None:
    pytest.importorskip("trak")
    model = network()
    rows = []
    for data in (TRAIN, QUERIES):
        for x, y in zip(*data.tensors, strict=True):
            logits = model(x[None])[0]
            others = torch.cat([logits[:y], logits[y + 1 :]]).logsumexp(0)
            margin = logits[y] - others
            grads = torch.autograd.grad(margin, list(model.parameters()))
            rows.append((torch.cat([g.flatten() for g in grads]), margin.detach()))
    gradients = torch.stack([gradient for gradient, _ in rows]).double()
    doubt = torch.sigmoid(-torch.stack([margin for _, margin in rows]))
    train, asked = gradients[:70], gradients[70:]
    exact = asked @ torch.linalg.pinv(train.T @ train, rtol=1e-6) @ train.T * doubt[:70]
    found = trak([model], TRAIN, QUERIES, 30).double()
    assert found.shape == (5, 70)
    both = torch.stack([found.flatten(), exact.flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.6
