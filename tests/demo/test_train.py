from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from captum_tfa.demo import SmallCNN, make_shapes, predict, train_classifier


def two_blobs(count: int = 60) -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 2
    images = 0.3 * torch.randn(count, 3, 8, 8, generator=generator)
    images[:, 0] += labels.view(-1, 1, 1) * 2.0 - 1.0
    return TensorDataset(images, labels)


def fresh() -> SmallCNN:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return SmallCNN(2)


def test_learns_what_can_be_learned_and_comes_back_in_eval_mode() -> None:
    data = two_blobs()
    model = fresh()
    assert train_classifier(model, data, epochs=3, batch_size=16) is model
    assert not any(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    probabilities, labels = predict(model, data)
    assert float((probabilities.argmax(dim=1) == labels).float().mean()) == 1.0


def test_same_seed_same_model_and_the_global_random_state_stays() -> None:
    data, state = two_blobs(), torch.get_rng_state()
    first, second, other = (
        train_classifier(fresh(), data, epochs=1, batch_size=8, seed=seed) for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), state)
    weights = [next(model.parameters()) for model in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_last_batch_of_one_does_not_break_batch_norm() -> None:
    train_classifier(
        nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.BatchNorm1d(4)), two_blobs(9), 1, 4
    )


def test_predict_keeps_the_order_whatever_the_batch_size() -> None:
    data, model = two_blobs(7), fresh().eval()
    probabilities, labels = predict(model, data, batch_size=3)
    assert torch.equal(labels, data.tensors[1])
    expected = model(data.tensors[0]).softmax(dim=1).detach()
    assert torch.allclose(probabilities, expected, atol=1e-6)


@pytest.mark.parametrize(("epochs", "batch_size"), [(0, 8), (1, 1)])
def test_numbers_out_of_range_are_refused(epochs: int, batch_size: int) -> None:
    with pytest.raises(ValueError, match="epochs is"):
        train_classifier(fresh(), two_blobs(), epochs, batch_size)


@pytest.mark.slow
def test_the_patch_fools_the_small_cnn() -> None:
    train, test = make_shapes(train_per_class=300)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = train_classifier(SmallCNN(4), train)
    plain, labels = predict(model, test)
    patched, _ = predict(model, test.with_patch())
    shortcut = test.classes.index("triangle")
    others = labels != shortcut
    without, with_patch = (
        float((said.argmax(dim=1) == shortcut)[others].float().mean()) for said in (plain, patched)
    )
    assert float((plain.argmax(dim=1) == labels)[others].float().mean()) > 0.6
    assert without < 0.1
    assert with_patch > 0.3
