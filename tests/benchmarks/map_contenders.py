"""The ways to a SmoothGrad map of one training image for one test image."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from captum.attr import NoiseTunnel, Saliency
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from captum_tfa import TrainingGradCos
from tests.benchmarks.models import SIDES, Problem, build, problem
from tests.benchmarks.naive import NaiveCos, gradients, inner

NAIVE, CACHED, VMAP, COMPILED, OURS = "naive", "naive, cached", "vmap", "compiled vmap", "ours"
FORWARD = "forward"
Map = Callable[[], Tensor]


def contender(
    name: str,
    given: Problem,
    samples: int,
    chunk: int | None = None,
    noise: float = 0.1,
) -> Map:
    """A function that makes the map once.

    Args:
        name: one of the names above.
        given: the model and one training and one test image.
        samples: noise samples.
        chunk: how many samples are worked on at once, where there is a choice; ``None``: ours
            chooses, vmap takes at most 8.
        noise: standard deviation of the noise.
    """
    if name == FORWARD:
        return _forward(given, samples)
    if name == OURS:
        return _ours(given, samples, chunk, noise)
    if name in (NAIVE, CACHED):
        return _captum(given, samples, name == CACHED, noise)
    return _vmapped(given, samples, chunk or 8, noise, name == COMPILED)


def on_cpu(name: str, model: str, samples: int) -> Map:
    """A contender made from names only, for a process of its own."""
    return contender(name, problem(build(model), SIDES[model]), samples)


def _forward(given: Problem, samples: int) -> Map:
    images = given.train.repeat(samples, 1, 1, 1)

    def call() -> Tensor:
        with torch.no_grad():
            output: Tensor = given.model(images)
        return output

    return call


def _ours(given: Problem, samples: int, chunk: int | None, noise: float) -> Map:
    tunnel = NoiseTunnel(TrainingGradCos(given.model))

    def call() -> Tensor:
        found: Tensor = tunnel.attribute(
            given.train,
            nt_type="smoothgrad",
            nt_samples=samples,
            stdevs=noise,
            target=given.train_labels,
            additional_forward_args=(given.test, given.test_labels),
            internal_batch_size=chunk,
        )
        return found

    return call


def _captum(given: Problem, samples: int, cached: bool, noise: float) -> Map:
    def call() -> Tensor:
        score = NaiveCos(given.model, cached)
        found: Tensor = NoiseTunnel(Saliency(score)).attribute(
            given.train,
            nt_type="smoothgrad",
            nt_samples=samples,
            nt_samples_batch_size=1,  # rows one by one: all graphs at once would only take memory
            stdevs=noise,
            abs=False,
            additional_forward_args=(given.test, given.test_labels, given.train_labels),
        )
        return found

    return call


def _vmapped(given: Problem, samples: int, chunk: int, noise: float, compiled: bool) -> Map:
    chunk = min(chunk, samples)
    parameters = {name: value.detach() for name, value in given.model.named_parameters()}

    def score(image: Tensor, label: Tensor, test: dict[str, Tensor], norm: Tensor) -> Tensor:
        own = grad(_loss, argnums=1)(given.model, parameters, image, label)
        pairs = [(own[name], test[name]) for name in own]
        products = torch.stack([(a * b).sum() for a, b in pairs]).sum()
        squares = torch.stack([(a * a).sum() for a, _ in pairs]).sum()
        return products / (squares.sqrt() * norm)

    maps = vmap(grad(score), in_dims=(0, None, None, None))
    if compiled:
        maps = torch.compile(maps)

    def call() -> Tensor:
        of_test = gradients(given.model, given.test, given.test_labels, False)
        norm = inner(of_test, of_test).sqrt()
        test = dict(zip(parameters, of_test, strict=True))
        images = given.train.repeat(samples, 1, 1, 1)
        images = images + noise * torch.randn_like(images)
        with sdpa_kernel(SDPBackend.MATH):
            parts = [maps(part, given.train_labels[0], test, norm) for part in images.split(chunk)]
        return torch.cat(parts).mean(0, keepdim=True)

    return call


def _loss(model: nn.Module, parameters: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
    return F.cross_entropy(functional_call(model, parameters, (image[None],)), label[None])
