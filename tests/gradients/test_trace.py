"""What two passes must share before the layout of one is taken for that of the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from captum_tfa import GradCosScore, ScoreInfluence, TrainingGradCos
from captum_tfa.gradients import collector
from captum_tfa.gradients.uses import ParameterUses
from tests.oracle import CLASSES, NETS, SlowScore, assert_exact, relative_error, slow_map

TOKENS, WIDTH = 4, 3
Pack = Callable[[Tensor, Tensor], Tensor]


def _counts(lengths: Tensor) -> list[int]:
    return [int(length) for length in lengths]


def _positions(lengths: Tensor) -> list[int]:
    """Where the real tokens stand among all, as numbers of Python."""
    return [
        row * TOKENS + token for row, count in enumerate(_counts(lengths)) for token in range(count)
    ]


def _permutation(lengths: Tensor) -> Tensor:
    """``[packed, B · tokens]``: a matrix that picks the real tokens."""
    return torch.eye(len(lengths) * TOKENS, dtype=torch.float64)[_positions(lengths)]


def _kept_in(place: list[Any]) -> Pack:
    def pack(x: Tensor, lengths: Tensor) -> Tensor:
        place[:] = _positions(lengths)
        return x.flatten(0, 1)[place]

    return pack


def _written(x: Tensor, lengths: Tensor) -> Tensor:
    packed = x.new_zeros(int(lengths.sum()), WIDTH)
    end = 0
    for row, count in zip(x, _counts(lengths), strict=True):
        packed[end : end + count] = row[:count]
        end += count
    return packed


class _Picked(torch.autograd.Function):
    """Picks rows where torch does not show it."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.count = len(flat)
        return flat[places]

    @staticmethod
    def backward(ctx: Any, delta: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        return delta.new_zeros(ctx.count, WIDTH).index_add(0, places, delta), None


def _places(lengths: Tensor) -> Tensor:
    return torch.tensor(_positions(lengths))


def _unseen_content(x: Tensor, lengths: Tensor) -> Tensor:
    places = torch.zeros(int(lengths.sum()), dtype=torch.long)
    places.numpy()[:] = _positions(lengths)
    return x.flatten(0, 1)[places]


def _written_as_data(x: Tensor, lengths: Tensor) -> Tensor:
    places = torch.zeros(int(lengths.sum()), dtype=torch.long)
    places.data.copy_(_places(lengths))
    return x.flatten(0, 1)[places]


def _mask(x: Tensor, lengths: Tensor) -> Tensor:
    return torch.arange(TOKENS)[None] < lengths[:, None]


PACKS: dict[str, Pack] = {
    "slices": lambda x, n: torch.cat([row[:k] for row, k in zip(x, _counts(n), strict=True)]),
    "rows by number": lambda x, n: torch.cat([x[i, :k] for i, k in enumerate(_counts(n))]),
    "narrow": lambda x, n: torch.cat(
        [row.narrow(0, 0, k) for row, k in zip(x.unbind(), _counts(n), strict=True)]
    ),
    "split": lambda x, n: torch.cat(
        [row.split([k, TOKENS - k])[0] for row, k in zip(x, _counts(n), strict=True)]
    ),
    "padded away": lambda x, n: torch.cat(
        [F.pad(row, (0, 0, 0, k - TOKENS)) for row, k in zip(x, _counts(n), strict=True)]
    ),
    "list of positions": lambda x, n: x.flatten(0, 1)[_positions(n)],
    "index of positions": lambda x, n: x.flatten(0, 1)[_places(n)],
    "index_select": lambda x, n: x.flatten(0, 1).index_select(0, _places(n)),
    "gather": lambda x, n: x.flatten(0, 1).gather(0, _places(n)[:, None].expand(-1, WIDTH)),
    "numpy": lambda x, n: x.flatten(0, 1)[torch.from_numpy(np.array(_positions(n)))],
    "numpy index": lambda x, n: x.flatten(0, 1)[np.array(_positions(n))],
    "legacy tensor": lambda x, n: x.flatten(0, 1)[torch.LongTensor(_positions(n))],
    "mask": lambda x, n: x[_mask(x, n)],
    "masked_select": lambda x, n: x.masked_select(_mask(x, n)[..., None]).view(-1, WIDTH),
    "nonzero": lambda x, n: x[_mask(x, n).nonzero(as_tuple=True)],
    "embedding": lambda x, n: F.embedding(_places(n), x.flatten(0, 1)),
    "matrix": lambda x, n: _permutation(n) @ x.flatten(0, 1),
    "einsum": lambda x, n: torch.einsum("pt,tw->pw", _permutation(n), x.flatten(0, 1)),
    "written": _written,
    "kept in a list": _kept_in([]),
    "custom function": lambda x, n: _Picked.apply(x.flatten(0, 1), _places(n)),
    "content set unseen": _unseen_content,
    "content set as data": _written_as_data,
    "sorted by length": lambda x, n: torch.cat(
        [x[i, : int(n[i])] for i in n.argsort(stable=True).tolist()]
    ),
}


class Packing(nn.Module):
    """Packs the first ``n`` tokens of each example before a linear layer, and sums them after."""

    def __init__(self, pack: Pack) -> None:
        super().__init__()
        self.packed, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)
        self.pack = pack

    def forward(self, x: Tensor) -> Tensor:
        lengths = (x[..., 0] > -5).sum(1).detach()
        hidden = self.packed(self.pack(x, lengths)).tanh()
        order = range(len(x))
        if self.pack is PACKS["sorted by length"]:
            order = lengths.argsort(stable=True).tolist()  # type: ignore[assignment]
        sums: list[Any] = [None] * len(x)
        end = 0
        for row in order:
            end += int(lengths[row])
            sums[row] = hidden[end - int(lengths[row]) : end].sum(0)
        return self.out(torch.stack(sums))


def _padded(lengths: list[int], seed: int = 0) -> Tensor:
    x = torch.randn(
        len(lengths), TOKENS, WIDTH, dtype=torch.float64, generator=torch.manual_seed(seed)
    )
    for row, length in zip(x, lengths, strict=True):
        row[length:] = -9
    return x


@pytest.mark.parametrize("way", PACKS)
@settings(max_examples=4, deadline=None, derandomize=True)
@given(data=st.data())
def test_batches_that_are_packed_otherwise_are_laid_out_anew(way: str, data: st.DataObject) -> None:
    """Batches with as many tokens in all, differently shared, by the same score."""
    model = Packing(PACKS[way]).double().eval()
    score, slow = GradCosScore(model), SlowScore(model)
    test = _padded([3], seed=99)
    for seed in range(3):
        first = data.draw(st.integers(1, TOKENS))
        second = data.draw(st.integers(1, TOKENS))
        for lengths in ([first, second], [second, first], [2, 2], [3, 1], [1, 3]):
            train = _padded(lengths, seed)
            assert_exact(score, slow, train, test, torch.tensor([1]), torch.tensor([0, 2]))


@pytest.mark.parametrize("way", ["slices", "numpy", "matrix"])
def test_rankings_and_maps_in_batches_of_one_token_budget(way: str) -> None:
    model = Packing(PACKS[way]).double().eval()
    lengths = [2, 2, 3, 1, 1, 3, 2, 2, 4, 1]
    train, test = _padded(lengths), _padded([3], seed=9)
    labels = torch.arange(len(lengths)) % CLASSES
    pairs = list(zip(train, labels.tolist(), strict=True))
    ranking = ScoreInfluence(GradCosScore(model), pairs, batch_size=2).influence((test, 1))
    slow = SlowScore(model)
    assert relative_error(ranking[0], slow(train, test, 1, labels).detach()) < 1e-8
    maps = TrainingGradCos(model).attribute(train, labels, (test, 1), internal_batch_size=2)
    assert relative_error(maps, slow_map(slow, train, test, 1, labels)) < 1e-8


@pytest.mark.parametrize("name", sorted(NETS))
@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
def test_ordinary_nets_have_the_same_trace_for_every_batch(name: str) -> None:
    case = NETS[name]
    model = case.model()
    keys = []
    for seed in range(2):
        inputs = case.inputs(3, seed=seed)
        with torch.enable_grad(), ParameterUses({}, list(model.parameters()), inputs) as record:
            model(*inputs)
        keys.append(record.trace.key)
    assert keys[0] is not None
    assert keys[0] == keys[1]


def _key(function: Callable[[Tensor], object], shape: tuple[int, ...] = (2, 3)) -> object:
    x = torch.randn(*shape, requires_grad=True)
    with ParameterUses({}, [], [x]) as record:
        function(x)
    return record.trace.key


ARRANGED_BY_CONTENT: dict[str, Callable[[Tensor], object]] = {
    "sort": lambda x: x.sort(0).values,
    "comparison as a factor": lambda x: (x > 0).float() * x,
    "rounding": lambda x: x.round() * x,
    "integers as a factor": lambda x: x.to(torch.long).float() * x,
    "matrix product of images": lambda x: x @ x.T,
    "einsum over the batch": lambda x: torch.einsum("bi,ci->bc", x, x),
    "indices of maxima": lambda x: x[x.argmax(0)],
    "chance": lambda x: x[torch.randperm(2)],
    "unknown function": lambda x: torch.special.entr(x),
    "array as an argument": lambda x: x[np.array([1, 0])],
    "weights made of images": lambda x: F.linear(x, x),
}


@pytest.mark.parametrize("way", ARRANGED_BY_CONTENT)
def test_content_that_may_move_rows_leaves_no_trace(way: str) -> None:
    assert _key(ARRANGED_BY_CONTENT[way]) is None


BY_SHAPE: dict[str, Callable[[Tensor], object]] = {
    "arithmetic": lambda x: (2 * x + 1).tanh() / 3,
    "batched products": lambda x: x[:, :, None] @ x[:, None, :],
    "einsum by example": lambda x: torch.einsum("bi,bj->bij", x, x),
    "constant index": lambda x: x[:, torch.tensor([2, 0])],
    "slices": lambda x: torch.cat([x[:1], x[1:]]),
    "written": lambda x: x.new_zeros(2, 3).index_put((torch.tensor([0]),), torch.ones(3)),
    "iteration": lambda x: torch.stack(list(x)),
    "in place": lambda x: (x * 1).relu_().mul_(2),
    "prediction": lambda x: F.cross_entropy(x, x.argmax(1)),
}


@pytest.mark.parametrize("way", BY_SHAPE)
def test_what_shapes_decide_has_one_trace(way: str) -> None:
    first = _key(BY_SHAPE[way])
    assert first is not None
    assert first == _key(BY_SHAPE[way])
    assert first != _key(BY_SHAPE[way], (3, 3))


DIFFERENT: dict[str, tuple[Callable[[Tensor], object], Callable[[Tensor], object]]] = {
    "bounds of a slice": (lambda x: x[:1], lambda x: x[1:]),
    "number and truth": (lambda x: x[1], lambda x: x[True]),
    "named argument": (lambda x: x.sum(dim=0), lambda x: x.sum(dim=1)),
    "name of the argument": (
        lambda x: x.sum(dim=0, keepdim=True),
        lambda x: x.sum(dim=0, keepdim=False),
    ),
    "which of two results": (
        lambda x: x.unbind()[0] * 2,
        lambda x: x.unbind()[1] * 2,
    ),
    "order of a join": (
        lambda x: torch.cat([x, x * 2]),
        lambda x: torch.cat([x * 2, x]),
    ),
    "list of numbers": (lambda x: x[:, [0, 1]], lambda x: x[:, [1, 0]]),
    "numbers of a tensor": (
        lambda x: x[:, torch.tensor([0, 1])],
        lambda x: x[:, torch.tensor([1, 0])],
    ),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_traces_tell_different_passes_apart(what: str) -> None:
    one, other = DIFFERENT[what]
    assert _key(one) != _key(other)


def test_a_tensor_that_was_written_to_is_another_one() -> None:
    order = torch.tensor([0, 1])
    before = _key(lambda x: x[order])
    assert before == _key(lambda x: x[order])
    order.copy_(torch.tensor([1, 0]))
    assert _key(lambda x: x[order]) != before


def test_users_tensors_are_not_marked() -> None:
    weight, x = nn.Parameter(torch.ones(3)), torch.randn(2, 3)
    before = set(vars(weight)), set(vars(x))
    with ParameterUses({}, [weight], [x]) as record:
        x.contiguous() * weight.contiguous()
    assert record.trace.key is not None
    assert (set(vars(weight)), set(vars(x))) == before


def test_remembered_layouts_are_bounded() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, CLASSES)).double()
    score = GradCosScore(model)
    tests = score.test_gradients(torch.randn(1, 3, dtype=torch.float64), 1)
    for batch in range(2, 80):
        score.against(torch.randn(batch, 3, dtype=torch.float64), 0, tests)
    assert len(score._gradients._collector._layouts) <= 32


LOSSES: dict[str, tuple[Any, Any]] = {
    "cross-entropy": (None, torch.tensor([0, 1, 2])),
    "other integers": (None, torch.tensor([0, 1, 2], dtype=torch.int32)),
    "several labels": (nn.BCEWithLogitsLoss(reduction="none"), torch.eye(CLASSES)[:3].double()),
    "squares": (nn.MSELoss(reduction="none"), torch.ones(3, CLASSES).double()),
    "predictions": (None, None),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_layout_is_found_once_for_batches_of_one_size(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, labels = LOSSES[name]
    model = NETS["small cnn"].model()
    score = GradCosScore(model, loss)
    test = torch.randn(1, 3, 8, 8).double()
    found: list[int] = []
    plain = collector.layout_of

    def counted(*arguments: Any) -> Any:
        found.append(1)
        return plain(*arguments)

    monkeypatch.setattr(collector, "layout_of", counted)
    tests = score.test_gradients(test, None if labels is None else labels[:1])
    score.against(torch.randn(3, 3, 8, 8).double(), labels, tests)
    assert found
    found.clear()
    for _ in range(3):
        train = torch.randn(3, 3, 8, 8).double().requires_grad_()
        score.against(train, labels, tests)
        score(train, test, None if labels is None else labels[:1], labels)
    assert found == []
