"""Which parameter was used where: the record of one forward pass.

A parameter gradient of one example is a sum over the places where the parameter was used,
and at each place it follows from two things alone: what went in (the activation ``a``) and
the gradient of the loss at what came out (the delta ``δ``). For a linear layer it is
``δᵀ a``. Recording ``a`` and a handle on the output during one plain batched forward pass is
therefore enough to have every example's gradient, without a second pass and without touching
the user's module.

The record is taken where functions are called (``torch.nn.functional.linear`` and so on), not
where modules are called. So it sees functional use, subclasses with a meaning of their own,
shared modules, and modules that are called twice, all alike. Registered functions are computed
with detached parameters: autograd then never spends time on the weight gradients summed over
the batch, neither in the first backward pass nor in the second. A parameter that reaches any
other function keeps its place in the graph, and its gradient is taken there. Where that function
only makes a weight for a registered one, the weight is recorded in its place (`computed`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode

from captum_tfa.gradients.computed import ComputedWeight, leaves_below
from captum_tfa.gradients.kept import of_this_pass
from captum_tfa.gradients.placement import QUERIES
from captum_tfa.gradients.registry import OPENED, RECORDED, REWRITTEN
from captum_tfa.gradients.rule import Rule
from captum_tfa.gradients.trace import Trace

# Functions whose calls would hide uses of parameters.
_DIFFERENTIATION = {torch.autograd.grad, torch.autograd.backward, Tensor.backward}

Result = TypeVar("Result")
MaybeTensor = TypeVar("MaybeTensor", Tensor, Tensor | None)


@dataclass(frozen=True)
class Use:
    """One place where a parameter was used.

    Attributes:
        name: the parameter's name, or that of a computed weight.
        rule: how its gradient follows there.
        inputs: activations that went in, with the leading dimensions of the output.
        edge: where the delta is taken.
        shape: the output's shape.
        output: the output itself. Before torch 2.7 an edge does not keep its place in the graph
            alive where nothing else does.
    """

    name: str
    rule: Rule
    inputs: tuple[Tensor, ...]
    versions: tuple[int, ...]
    edge: GradientEdge
    shape: torch.Size
    output: Tensor

    def check_unchanged(self) -> None:
        """Raise if the model overwrote an activation that the gradient needs.

        Raises:
            RuntimeError: an input was modified in place after its use. Training the parameter
                would fail in the same place.
        """
        if tuple(tensor._version for tensor in self.inputs) != self.versions:
            raise RuntimeError(
                f"The input of the layer that uses parameter '{self.name}' was overwritten in "
                "place after its use, so the parameter's gradient is lost (training it would "
                "fail too). Replace the in-place operation (`x += y`, `inplace=True`) that "
                "follows this layer's input by its ordinary form."
            )


class ParameterUses(TorchFunctionMode):
    """A context that records the uses of parameters in the forward pass that runs inside it.

    Args:
        chosen: the parameters that count, by name.
        parameters: all parameters of the model; those not chosen are constants.
        inputs: the model's inputs and the labels, whose rows are the examples.
    """

    def __init__(
        self,
        chosen: Mapping[str, nn.Parameter],
        parameters: Collection[nn.Parameter],
        inputs: Sequence[Tensor],
    ) -> None:
        super().__init__()
        self.uses: list[Use] = []
        self.trace = Trace(inputs)
        #: Stands for this pass.
        self.token = object()
        self._names = {id(parameter): name for name, parameter in chosen.items()}
        self._all = {id(parameter) for parameter in parameters}
        self._stand_ins: dict[int, Tensor] = {}
        # With the tensor itself, so that its `id` is nobody else's.
        self._computed: dict[int, tuple[Tensor, ComputedWeight | None]] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in OPENED:  # its inner calls are seen instead
            with self:
                return OPENED[func](*args, **kwargs)
        call = self.trace.begin(func, args, kwargs)
        result = self._instead(func, args, kwargs)
        if func is Tensor.__iter__:
            rows = list(result)
            self.trace.end(call, args, kwargs, rows)
            return iter(rows)
        self.trace.end(call, args, kwargs, result)
        return result

    def _instead(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if func in REWRITTEN:
            return REWRITTEN[func](*args, **kwargs)
        if func in _DIFFERENTIATION:
            raise RuntimeError(
                "The model computes gradients in its own forward pass. Uses of parameters in a "
                "backward pass are not seen, so its examples cannot be scored."
            )
        if func in RECORDED and torch.is_grad_enabled():
            return RECORDED[func](self, *args, **kwargs)
        if func in QUERIES:
            return func(*args, **kwargs)
        return self.leave(func, *args, **kwargs)

    def leave(self, func: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Call a function without a rule for it, so that autograd differentiates it."""
        kwargs = {name: self._stand_in(argument) for name, argument in kwargs.items()}
        return func(*map(self._stand_in, args), **kwargs)

    def _stand_in(self, argument: Any) -> Any:
        """A leaf in the place of a parameter, for a function that has no rule.

        The gradient is taken there, and whoever calls ``backward`` on a score finds the
        parameter's own ``.grad`` untouched.
        """
        if isinstance(argument, list | tuple) and type(argument) in (list, tuple):
            return type(argument)(map(self._stand_in, argument))
        if id(argument) not in self._all:
            return argument
        if id(argument) not in self._stand_ins:
            leaf = argument.detach().requires_grad_(self.counts(argument))
            of_this_pass(leaf, self.token)
            self._stand_ins[id(argument)] = leaf
            # The model may hand the leaf on as the parameter that it is; it then stands for itself.
            self._stand_ins[id(leaf)] = leaf
            self._all.add(id(leaf))
            if self.counts(argument):
                self._names[id(leaf)] = self._names[id(argument)]
        return self._stand_ins[id(argument)]

    def left_to_autograd(self) -> Iterator[tuple[str, Tensor]]:
        """Where autograd itself finds the gradients of chosen parameters, by their names."""
        for identity, leaf in self._stand_ins.items():
            if identity == id(leaf) and self.counts(leaf):
                yield self._names[identity], leaf

    def is_parameter(self, tensor: object) -> bool:
        """Whether this is one of the model's parameters itself, not computed from one."""
        return id(tensor) in self._all

    def counts(self, tensor: object) -> bool:
        """Whether this is one of the chosen parameters."""
        return id(tensor) in self._names

    @property
    def computed(self) -> list[ComputedWeight]:
        """The weights computed from parameters that were used in the place of parameters."""
        return [weight for _, weight in self._computed.values() if weight is not None]

    def constant(self, parameter: MaybeTensor) -> MaybeTensor:
        """The parameter, or a weight computed from some, as a constant; other tensors as they are.

        What it returns must be used only in what is then recorded.
        """
        if parameter is not None and (self.is_parameter(parameter) or self._made_of(parameter)):
            return parameter.detach()
        return parameter

    def _made_of(self, weight: Tensor) -> ComputedWeight | None:
        """The computed weight that this tensor is, if it is one."""
        if weight.grad_fn is None or self.trace.may_be_of_images(weight):
            return None
        if id(weight) not in self._computed:
            names = {id(leaf): name for name, leaf in self.left_to_autograd()}
            leaves = leaves_below(weight, names)
            made = None
            if leaves is not None:
                name = f"weight {len(self._computed)} computed from {', '.join(leaves)}"
                made = ComputedWeight(name, weight, leaves)
            self._computed[id(weight)] = weight, made
        return self._computed[id(weight)][1]

    def _name_of(self, weight: Tensor | None) -> str | None:
        if weight is None or self.counts(weight):
            return self._names.get(id(weight))
        made = self._made_of(weight)
        return None if made is None else made.name

    def record(
        self,
        output: Tensor,
        *parts: tuple[Tensor | None, Rule, tuple[Tensor, ...]],
    ) -> Tensor:
        """Note the uses that an output stands for and return the output to pass on.

        Args:
            output: what the function computed with constant parameters.
            parts: for each parameter of the function, the parameter or the tensor in its place
                (``None`` where the function had none), its rule, and the activations that the
                rule needs.

        Returns:
            ``output``, attached to the autograd graph if it was not and a use was recorded.
        """
        names = [self._name_of(parameter) for parameter, _, _ in parts]
        chosen = [
            (name, rule, inputs)
            for name, (_, rule, inputs) in zip(names, parts, strict=True)
            if name is not None
        ]
        if not chosen:
            return output
        if not output.requires_grad:
            output = _attached(output, self.token)
        edge = get_gradient_edge(output)
        for name, rule, inputs in chosen:
            versions = tuple(tensor._version for tensor in inputs)
            self.uses.append(Use(name, rule, inputs, versions, edge, output.shape, output))
        return output


class _Attach(torch.autograd.Function):
    """Gives a fresh tensor a place in the graph without copying it.

    A leaf would do for the delta, but the model could then no longer work on it in place.
    """

    @staticmethod
    def forward(ctx: Any, output: Tensor, anchor: Tensor) -> Tensor:
        ctx.mark_dirty(output)
        return output

    @staticmethod
    def backward(ctx: Any, delta: Tensor) -> tuple[Tensor, None]:
        return delta, None


def _attached(output: Tensor, token: object) -> Tensor:
    anchor = of_this_pass(output.new_zeros((), requires_grad=True), token)
    result: Tensor = _Attach.apply(output, anchor)
    return result
