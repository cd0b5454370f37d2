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
other function keeps its place in the graph, and its gradient is taken there.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode

from captum_tfa.gradients.rule import Rule

Recorded = Callable[..., Any]
MaybeTensor = TypeVar("MaybeTensor", Tensor, Tensor | None)

_RECORDED: dict[Callable[..., Any], Recorded] = {}
_REWRITTEN: dict[Callable[..., Any], Callable[..., Tensor]] = {}


@dataclass(frozen=True)
class Use:
    """One place where a parameter was used.

    Attributes:
        name: the parameter's name.
        rule: how its gradient follows there.
        inputs: activations that went in, with the leading dimensions of the output.
        edge: where the delta is taken.
        shape: the output's shape.
    """

    name: str
    rule: Rule
    inputs: tuple[Tensor, ...]
    versions: tuple[int, ...]
    edge: GradientEdge
    shape: torch.Size

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
    """

    def __init__(
        self, chosen: Mapping[str, nn.Parameter], parameters: Collection[nn.Parameter]
    ) -> None:
        super().__init__()
        self.uses: list[Use] = []
        self._names = {id(parameter): name for name, parameter in chosen.items()}
        self._all = {id(parameter) for parameter in parameters}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _REWRITTEN:
            return _REWRITTEN[func](*args, **kwargs)
        if func in _OPENED:
            with self:
                return _OPENED[func](*args, **kwargs)
        if func in _RECORDED and torch.is_grad_enabled():
            return _RECORDED[func](self, *args, **kwargs)
        return func(*args, **kwargs)

    def is_parameter(self, tensor: object) -> bool:
        """Whether this is one of the model's parameters itself, not computed from one."""
        return id(tensor) in self._all

    def counts(self, tensor: object) -> bool:
        """Whether this is one of the chosen parameters."""
        return id(tensor) in self._names

    def constant(self, parameter: MaybeTensor) -> MaybeTensor:
        """The parameter as a constant; a tensor that is no parameter of the model as it is."""
        if parameter is not None and self.is_parameter(parameter):
            return parameter.detach()
        return parameter

    def record(
        self,
        output: Tensor,
        *parts: tuple[Tensor | None, Rule, tuple[Tensor, ...]],
    ) -> Tensor:
        """Note the uses that an output stands for and return the output to pass on.

        Args:
            output: what the function computed with constant parameters.
            parts: for each parameter of the function, the parameter (``None`` where the
                function had none), its rule, and the activations that the rule needs.

        Returns:
            ``output``, attached to the autograd graph if it was not and a use was recorded.
        """
        chosen = [
            (self._names[id(parameter)], rule, inputs)
            for parameter, rule, inputs in parts
            if self.counts(parameter)
        ]
        if not chosen:
            return output
        if not output.requires_grad:
            output = _attached(output)
        edge = get_gradient_edge(output)
        for name, rule, inputs in chosen:
            versions = tuple(tensor._version for tensor in inputs)
            self.uses.append(Use(name, rule, inputs, versions, edge, output.shape))
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


def _attached(output: Tensor) -> Tensor:
    result: Tensor = _Attach.apply(output, output.new_zeros((), requires_grad=True))
    return result


def records(*functions: Callable[..., Any]) -> Callable[[Recorded], Recorded]:
    """Register what is done instead of each of these functions while uses are recorded.

    The registered function takes the `ParameterUses` first and then exactly the function's own
    arguments, by the same names.
    """

    def register(recorded: Recorded) -> Recorded:
        for function in functions:
            _RECORDED[function] = recorded
        return recorded

    return register


def rewrites(
    function: Callable[..., Any],
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register an equal computation for a function that cannot be differentiated twice."""

    def register(equal: Callable[..., Tensor]) -> Callable[..., Tensor]:
        _REWRITTEN[function] = equal
        return equal

    return register


def _opened(function: Any) -> Callable[..., Any]:
    """A copy of a composite function whose inner calls a `ParameterUses` sees.

    Functions of ``torch.nn.functional`` that are written in Python hand themselves over whole
    when a mode is active. In the copy that first check always says no.
    """
    unchecked = dict.fromkeys(
        ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"),
        lambda *tensors: False,
    )
    copy = types.FunctionType(
        function.__code__,
        {**function.__globals__, **unchecked},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


_OPENED: dict[Callable[..., Any], Callable[..., Any]] = {
    F.multi_head_attention_forward: _opened(F.multi_head_attention_forward),
}
