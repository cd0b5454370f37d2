"""What every score is: a differentiable number for each pair of a training and a test example.

A score is a plain module, ``score(train_inputs, test_inputs) -> [B]``. Whatever Captum attributes
for a module it attributes for a score, and so tells which parts of a training image matter.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from captum_tfa.gradients import (
    GradientEngine,
    Gradients,
    StoredGradients,
    outside_inference_mode,
)
from captum_tfa.gradients.losses import ExampleLosses, LossFn, OutputFn
from captum_tfa.gradients.modes import in_own_precision
from captum_tfa.gradients.plain_pass import plain_pass
from captum_tfa.gradients.selection import ParameterChoice, choose
from captum_tfa.scores.captum_hooks import refuse_rewritten_gradients
from captum_tfa.scores.distinct_tests import DistinctTests
from captum_tfa.scores.groups import Grouping
from captum_tfa.scores.pairing import (
    Inputs,
    as_tensors,
    labels_for,
    matched,
    same_dimensions,
)
from captum_tfa.scores.validate import validate

if TYPE_CHECKING:
    from captum_tfa.scores.by_group import InfluenceByGroup
    from captum_tfa.scores.weights import ParameterWeights


class ZeroGradientWarning(UserWarning):
    """An example is fitted perfectly: its gradient is zero, and so are its scores."""


class Score(nn.Module, ABC):
    """How much one training example influences one test example.

    Above 0 a proponent: a step on the training example lowers the loss on the test example.
    Below 0 an opponent.

    A score is what it makes of two gradients, and so says two things: what is done to the test
    gradients once (`prepared`), and what comes of each pair (`of`).

    Args:
        model: the trained model, in evaluation mode when the score is used. It is not changed.
        loss_fn: ``loss_fn(outputs, targets)`` that keeps one loss an example, ``[B]``, or one an
            element, ``[B, ...]``, which is summed over the rest. ``None``: cross-entropy. For
            several labels an image ``nn.BCEWithLogitsLoss(reduction="none")``, for regression
            ``nn.MSELoss(reduction="none")``. ``"logit"`` is minus the label's logit, ``"margin"``
            minus what it is above the others, ``logit − logsumexp(others)``.
        output_fn: picks the output tensor ``[B, ...]`` out of what the model returns, for models
            that return tuples, dicts or dataclasses.
        parameters: which parameters count: names of parameters or modules, modules, or a function
            from a parameter's name to ``True`` or ``False``. ``None``: every trainable parameter.
            Late layers alone also cost less.
        measure_fn: what is measured of the *test* example in the place of its loss, likewise: the
            score then says what a step on the training example does to that. Lower must be
            better, as for a loss. ``None``: ``loss_fn``.

    Attributes:
        loss_fn: as it was given; likewise ``output_fn`` and ``measure_fn``.
        choice: which parameters count, as it was given.
        symmetric: whether a pair has the same score when its images change sides, as far as it
            depends on them alone.

    Raises:
        TypeError: ``model``, ``loss_fn``, ``output_fn`` or ``measure_fn`` is of the wrong kind.
        ValueError: a loss reduces over the batch, or no parameter is left to count.
    """

    symmetric: bool = True
    #: What reports call it.
    name: str = "score"
    #: The weights of parameters that act in it.
    weights: tuple[ParameterWeights, ...] = ()

    def __init__(
        self,
        model: nn.Module,
        loss_fn: LossFn | str | None = None,
        output_fn: OutputFn | None = None,
        parameters: ParameterChoice = None,
        measure_fn: LossFn | str | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise TypeError(f"model is a {type(model).__name__}; it must be a torch.nn.Module.")
        self.model = model
        if isinstance(parameters, Iterator):
            parameters = list(parameters)  # it will be gone through more than once
        choose(model, parameters)  # a wrong choice is told now, not after a long wait
        losses = ExampleLosses(loss_fn, output_fn)
        self._gradients = self._measured = GradientEngine(model, losses, parameters)
        if measure_fn is not None:
            measures = ExampleLosses(measure_fn, output_fn, "measure_fn")
            self._measured = GradientEngine(model, measures, parameters)
            self._measured.room = self._gradients.room  # one model: what one saw, both know
            self.symmetric = False
        self.loss_fn, self.output_fn, self.choice = loss_fn, output_fn, parameters
        self.measure_fn = measure_fn
        self._warned = False

    def over_parts(self, compute: Callable[[Score], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """What is additive in the score: of a sum of scores, the sum over what it is the sum of.

        Args:
            compute: from one score to tensors that add up, such as scores and maps.

        Returns:
            The sum, with the weight of each part.
        """
        return compute(self)

    def prepared(self, tests: StoredGradients) -> StoredGradients:
        """What takes the place of test gradients, ``K g_test``; they themselves by default.

        Args:
            tests: gradients of ``M`` test examples.

        Returns:
            As many, constants.
        """
        return tests

    def prepared_back(self, trains: StoredGradients) -> StoredGradients:
        """``Kᵀ g_train``, for the same score from the test side; by default ``K`` is symmetric.

        Args:
            trains: gradients of training examples.
        """
        return self.prepared(trains)

    def prepared_parts(
        self, tests: StoredGradients, groups: Sequence[Collection[str]]
    ) -> list[StoredGradients]:
        """`prepared` of what each group of parameters holds of the test gradients.

        Args:
            tests: gradients of ``M`` test examples.
            groups: names of parameters; none is in two groups.

        Returns:
            For each group ``K P_j g_test``, where ``P_j`` keeps the group. They add up to
            `prepared`, which is linear.
        """
        return [self.prepared(tests.only(names)) for names in groups]

    @abstractmethod
    def of(self, train: Gradients, tests: StoredGradients, rows: Tensor | None) -> Tensor:
        """The scores of training examples.

        Args:
            train: the gradients of ``B`` training examples, in a graph if a map is wanted.
            tests: what `prepared` made of those of ``M`` test examples.
            rows: for each training example its test example, ``[B]``; ``None`` pairs each with
                each.

        Returns:
            ``[B]``, or ``[B, M]`` without ``rows``. A gradient of zero gives score 0.
        """

    def of_same(self, train: Gradients) -> Tensor:
        """The score of each example for itself, ``[B]``."""
        tests = self.prepared(train.stored())
        return self.of(train, tests, torch.arange(len(train.values), device=train.values.device))

    def compared(
        self, train: Gradients, tests: StoredGradients, rows: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """``⟨g_train, K g_test⟩``, ``‖g_train‖²`` and ``‖K g_test‖²``, to be broadcast.

        Raises:
            RuntimeError: a gradient that is not finite.
        """
        inner, train_squares = train.products(tests, rows)
        test_squares = tests.squares[None] if rows is None else tests.squares[rows]
        if rows is None:
            train_squares = train_squares[:, None]
        if inner is None:  # not one parameter on which both losses depend
            inner = 0 * train_squares + torch.zeros_like(test_squares)
        self.check_squares(train_squares, "training")
        self.check_squares(test_squares, "test")
        return inner, train_squares, test_squares

    @outside_inference_mode
    def forward(
        self,
        train_inputs: Inputs,
        test_inputs: Inputs,
        test_target: object = None,
        train_target: object = None,
    ) -> Tensor:
        """The score of each training example for its test example.

        Args:
            train_inputs: training images ``[B, ...]``, or a tuple for models with several inputs.
                The result can be differentiated with respect to them (once).
            test_inputs: test images ``[B, ...]``, or ``[1, ...]`` for all. Constants.
            test_target: labels of the test images: integers ``[B]`` or ``[1]`` for cross-entropy,
                as the loss takes them otherwise. ``None``: what the model itself predicts, the
                question "why did it say this?".
            train_target: labels of the training images, likewise. ``None``: what the model itself
                predicts; the true label is what one normally wants to pass.

        Returns:
            Scores ``[B]``.

        Raises:
            TypeError: inputs or labels of the wrong type.
            ValueError: numbers of rows that do not match, labels out of range, inputs on another
                device, or a model for which no parameter gradient of one example exists (see
                `validate`).
            RuntimeError: a gradient that is not finite, or a Captum method that rewrites the
                gradients of which the score is made.
        """
        device = self._ready()
        train = as_tensors(train_inputs, "train_inputs", device)
        batch = len(train[0])
        given = as_tensors(test_inputs, "test_inputs", device)
        same_dimensions(given, train, "test_inputs")
        test = [matched(tensor, batch, "test_inputs") for tensor in given]
        labels = labels_for(batch, test_target, "test_target", device)
        tests = DistinctTests(test, labels)
        return self.paired(train, train_target, *self.gradients_of(tests, tests.rows))

    def paired(
        self, train_inputs: Inputs, train_target: object, tests: StoredGradients, rows: Tensor
    ) -> Tensor:
        """The score of each training example for one of several test examples.

        Args:
            train_inputs: as in `forward`, likewise ``train_target``.
            train_target: labels ``[B, ...]`` or ``None``.
            tests: gradients of ``M`` test examples, from `gradients_of` or `test_gradients`.
            rows: which of them goes with each training example, ``[B]``.

        Returns:
            Scores ``[B]``, in a graph if gradients are enabled.
        """
        differentiable = torch.is_grad_enabled()
        device = self._ready()
        train = as_tensors(train_inputs, "train_inputs", device)
        if differentiable:
            train = tuple(_differentiated(tensor) for tensor in train)
        labels = labels_for(len(train[0]), train_target, "train_target", device)
        return self._gradients.apply(
            lambda gradients: self.of(gradients, tests, rows),
            train,
            labels,
            differentiable,
            hooks=True,
        )

    @outside_inference_mode
    def predictions(self, inputs: Inputs) -> Tensor:
        """The labels that the model itself gives, ``[B]`` or ``[B, ...]``: those of ``None``.

        Args:
            inputs: images ``[B, ...]``, or a tuple for models with several inputs.

        Raises:
            ValueError: the loss does not say what a prediction is; see also `forward`.
        """
        return ExampleLosses(self.loss_fn, self.output_fn).prediction(self.outputs(inputs))

    @outside_inference_mode
    def outputs(self, inputs: Inputs) -> Tensor:
        """What the model says of images, ``[B, ...]``, without graph and hooks.

        Args:
            inputs: images ``[B, ...]``, or a tuple for models with several inputs.
        """
        device = self._ready()
        images = as_tensors(inputs, "inputs", device)
        losses = ExampleLosses(self.loss_fn, self.output_fn)
        with plain_pass(self.model) as model, torch.no_grad(), in_own_precision(device.type):
            return losses.outputs(model(*images))

    @outside_inference_mode
    def test_gradients(self, test_inputs: Inputs, test_target: object = None) -> StoredGradients:
        """The gradients of test examples, `prepared` for `against`.

        Args:
            test_inputs: test images ``[Q, ...]``, or a tuple for models with several inputs.
            test_target: labels ``[Q, ...]`` or ``None``, as in `forward`.
        """
        device = self._ready()
        inputs = as_tensors(test_inputs, "test_inputs", device)
        labels = labels_for(len(inputs[0]), test_target, "test_target", device, "test examples")
        tests = DistinctTests(inputs, labels)
        gradients, rows = self.gradients_of(tests, tests.rows)
        return gradients.select(rows)

    @outside_inference_mode
    def against(
        self,
        train_inputs: Inputs,
        train_target: object,
        tests: StoredGradients,
        differentiable: bool = False,
    ) -> Tensor:
        """The scores of training examples for every one of several test examples.

        Args:
            train_inputs: training images ``[B, ...]``, or a tuple for models with several inputs.
            train_target: labels ``[B, ...]`` or ``None``, as in `forward`.
            tests: gradients of ``Q`` test examples, from `test_gradients`.
            differentiable: keep a graph to ``train_inputs``, which costs more.

        Returns:
            Scores ``[B, Q]``.
        """
        device = self._ready()
        inputs = as_tensors(train_inputs, "train_inputs", device)
        labels = labels_for(len(inputs[0]), train_target, "train_target", device)
        return self._gradients.apply(
            lambda gradients: self.of(gradients, tests, None), inputs, labels, differentiable
        )

    def by_parameter(
        self,
        train_inputs: Inputs,
        test_inputs: Inputs,
        test_target: object = None,
        train_target: object = None,
        by_group: Grouping = "parameter",
    ) -> InfluenceByGroup:
        """What each parameter, or group of them, contributes to the score of every pair.

        With ``K`` what stands between the gradients (such as ``H⁻¹``), group ``j`` contributes
        ``c_j = ⟨g_train, K P_j g_test⟩``: what is read of the test gradient in the group. The
        contributions add up to the score without its norms.

        Args:
            train_inputs: training images ``[N, ...]``, as in `forward`.
            test_inputs: test images ``[Q, ...]``, each of which goes with every training image.
            test_target: labels ``[Q, ...]`` or ``None``, as in `forward`.
            train_target: labels ``[N, ...]`` or ``None``, likewise.
            by_group: ``"parameter"``; ``"layer"``, the parameters that one module owns itself;
                names of modules, each a group with all inside it; or groups by name, each a choice
                of parameters as in `Score`. Each parameter that counts belongs to one group.

        Returns:
            Contributions ``[Q, N, G]`` with the groups' names, and the scores.

        Raises:
            TypeError: as `forward`, and for a ``by_group`` of the wrong kind.
            ValueError: as `forward`, and for groups that overlap or leave a parameter out.
            RuntimeError: as `forward`.
        """
        from captum_tfa.scores.by_group import by_parameter  # it knows scores of scores

        return by_parameter(self, train_inputs, test_inputs, test_target, train_target, by_group)

    def part_of(self, parameters: ParameterChoice) -> Score:
        """What some of the parameters contribute, over the whole score's norms.

        The parts of groups add up to the score, and their maps to its map.

        Args:
            parameters: which ones, as in `Score`: ``["layer4"]``.

        Raises:
            TypeError: as `Score`, likewise ``ValueError``.

        Example::

            >>> tfa = TrainingGradient(score.part_of(["layer4"]))
            >>> tfa.attribute(train_image, label, test_image)
        """
        from captum_tfa.scores.part import PartOfScore
        from captum_tfa.scores.sum_of_scores import changed

        return changed(self, lambda score: PartOfScore(score, parameters))

    def weighted(self, weights: ParameterWeights) -> Score:
        """The score in which the test gradient of each group of parameters has its weight.

        Args:
            weights: from `learn_weights`, or of one's own.

        Raises:
            TypeError: they are none.
            ValueError: they are of other parameters than count in the score.
        """
        from captum_tfa.scores.sum_of_scores import changed
        from captum_tfa.scores.weighted import WeightedScore

        found = changed(self, lambda score: WeightedScore(score, weights))
        found.weights = (weights, *self.weights)
        return found

    @outside_inference_mode
    def of_gradients(
        self,
        function: Callable[[Gradients], Tensor],
        train_inputs: Inputs,
        train_target: object = None,
    ) -> Tensor:
        """What a function makes of the gradients of training examples, ``[B, ...]``.

        Args:
            function: from the gradients of some of them to ``[b, ...]``.
            train_inputs: training images ``[B, ...]``, or a tuple for models with several inputs.
            train_target: labels ``[B, ...]`` or ``None``, as in `forward`.
        """
        device = self._ready()
        inputs = as_tensors(train_inputs, "train_inputs", device)
        labels = labels_for(len(inputs[0]), train_target, "train_target", device)
        return self._gradients.apply(function, inputs, labels)

    @outside_inference_mode
    def of_itself(self, train_inputs: Inputs, train_target: object = None) -> Tensor:
        """The score of each example for itself, ``[B]``: its self-influence.

        Args:
            train_inputs: images ``[B, ...]``, or a tuple for models with several inputs.
            train_target: labels ``[B, ...]`` or ``None``, as in `forward`.
        """
        device = self._ready()
        inputs = as_tensors(train_inputs, "train_inputs", device)
        labels = labels_for(len(inputs[0]), train_target, "train_target", device)
        if self._measured is self._gradients:
            return self._gradients.apply(self.of_same, inputs, labels)
        # As a test example it is measured otherwise.
        tests = self.test_gradients(inputs, labels)
        left = torch.arange(len(inputs[0]), device=device)

        def of_next(some: Gradients) -> Tensor:
            nonlocal left
            rows, left = left.split([len(some.values), len(left) - len(some.values)])
            return self.of(some, tests, rows)

        return self._gradients.apply(of_next, inputs, labels)

    def gradients_of(
        self, tests: DistinctTests, rows: Sequence[int]
    ) -> tuple[StoredGradients, Tensor]:
        """The gradients of some distinct test examples, `prepared`.

        Args:
            tests: the test examples of a call; what is computed is kept there until others are
                asked for.
            rows: which of them each training example goes with, ``B`` numbers.

        Returns:
            Gradients of ``M`` test examples, and which of them each row is, ``[B]``.
        """
        self._ready()
        wanted = list(dict.fromkeys(rows))
        new = [number for number in wanted if number not in tests.known]
        if new:
            labels = None if tests.labels is None else tests.labels[new]
            computed = self._measured.of_tests([tensor[new] for tensor in tests.images], labels)
            with torch.no_grad():
                prepared = list(map(self.prepared, computed))
            tests.known.update(zip(new, prepared, strict=True))
        for number in set(tests.known).difference(wanted):
            del tests.known[number]
        gradients = StoredGradients.joined([tests.known[number] for number in wanted])
        place = {number: index for index, number in enumerate(wanted)}
        index = [place[number] for number in rows]
        return gradients, torch.tensor(index, device=gradients.squares.device)

    def rows_at_once(self, train_inputs: Sequence[Tensor]) -> int:
        """How many training examples like these, each ``[B, ...]``, a map is made of at once.

        1 for models some of whose parameters need a pass of their own for each example of a batch.
        """
        return self._gradients.room.with_graph(train_inputs)

    def _ready(self) -> torch.device:
        """The model's device, once it is known that the model can be scored."""
        validate(self.model)
        refuse_rewritten_gradients(self)
        return next(self.model.parameters()).device

    def check_squares(self, squares: Tensor, which: str) -> None:
        """Warn of gradients that are zero.

        Args:
            squares: squared norms.
            which: whose they are, "training" or "test".

        Raises:
            RuntimeError: one is not finite.
        """
        finite = squares.detach().isfinite()
        if not bool(finite.all()):
            raise RuntimeError(
                f"{int((~finite).sum())} of {finite.numel()} {which} examples have a "
                "parameter gradient that is not finite. Look for NaN or infinity in the "
                "inputs and the model's outputs; in half precision use model.float()."
            )
        if not self._warned and bool(vanishing(squares).any()):
            self._warned = True
            warnings.warn(
                f"A {which} example has a parameter gradient of zero (it is fitted "
                "perfectly); its scores and maps are 0.",
                ZeroGradientWarning,
                stacklevel=4,
            )


def vanishing(squares: Tensor) -> Tensor:
    """Which of these squared norms count as zero in their precision."""
    info = torch.finfo(squares.dtype)
    return squares.detach() <= info.tiny / info.eps


def _differentiated(tensor: Tensor) -> Tensor:
    """The tensor itself if it is in a graph already, else the start of one."""
    if tensor.requires_grad or not tensor.is_floating_point():
        return tensor
    return tensor.detach().requires_grad_()
