"""Functions whose results lie as shapes say, whatever the content of the images.

Where the rows of a batch lie is the same for two passes that call the same functions on tensors of
the same shapes, as long as no function puts rows in places that the images' own content chooses.
Here are the functions of which that is known. Sorting, masking, rounding, comparing and the like
are not among them, and neither is what nobody has thought of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

OfImages = Callable[[Tensor], bool]
"""Whether a tensor was computed from images or labels."""

Places = Callable[[Any, dict[str, Any], OfImages], bool]
"""From a call's arguments to whether shapes alone say where its results lie."""

_HOMES: tuple[Any, ...] = (
    *(Tensor, torch, F, torch.special, torch.linalg, torch.fft, torch._C._nn, torch._VF),
)


def _functions(names: str) -> Iterator[Callable[..., Any]]:
    """The functions of these names, out of place and in place, wherever torch keeps them."""
    for name in names.split():
        spellings = [name, f"{name}_", f"__{name}__", f"__r{name}__", f"__i{name}__"]
        for home in _HOMES:
            for spelling in spellings:
                function: Any = getattr(home, spelling, None)
                if callable(function) and not isinstance(function, type):
                    yield function
                elif hasattr(function, "__get__"):  # Tensor.T and the like
                    yield function.__get__


# Functions of what lies at the same place in each of their arguments, and joins.
_TOGETHER = """
    abs acos acosh add addcdiv addcmul alpha_dropout asin asinh atan atanh binary_cross_entropy
    binary_cross_entropy_with_logits cat celu clone concat concatenate copy cos cosh
    cosine_embedding_loss cosine_similarity cross_entropy deg2rad detach div divide dropout
    dropout1d dropout2d dropout3d dstack elu erf erfc exp exp2 expand_as expm1 feature_alpha_dropout
    feature_dropout gelu hardshrink hardsigmoid hardswish hardtanh hinge_embedding_loss hstack
    huber_loss kl_div l1_loss leaky_relu lerp lgamma log log10 log1p log2 logaddexp logit logsigmoid
    margin_ranking_loss mish mse_loss mul multi_margin_loss multilabel_margin_loss
    multilabel_soft_margin_loss multiply nan_to_num neg negative nll_loss pairwise_distance
    poisson_nll_loss pos positive pow prelu reciprocal relu relu6 requires_grad_ reshape_as rsqrt
    rsub selu sigmoid silu sin sinc sinh smooth_l1_loss soft_margin_loss softplus softshrink
    softsign sqrt square stack sub subtract tan tanh tanhshrink threshold true_divide truediv
    type_as view_as vstack xlogy zero
"""

# Functions that are linear in their first argument, or treat all parts of a dimension alike.
_OF_FIRST = """
    H T adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
    adaptive_max_pool2d adaptive_max_pool3d amax amin argmax argmin as_strided avg_pool1d avg_pool2d
    avg_pool3d batch_norm bfloat16 byte channel_shuffle char chunk clamp clamp_max clamp_min clip
    contiguous conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d
    convolution cpu cuda cumprod cumsum diag_embed diagonal double dsplit embedding expand fft fft2
    fftn flatten flip fliplr flipud float fold gather getitem glu group_norm half hfft hsplit ifft
    ifft2 ifftn imag index_select instance_norm int interpolate irfft irfft2 irfftn iter layer_norm
    linear local_response_norm log_softmax logcumsumexp logsumexp long lp_pool1d lp_pool2d mH mT
    masked_fill masked_select max max_pool1d max_pool1d_with_indices max_pool2d
    max_pool2d_with_indices max_pool3d max_pool3d_with_indices mean min moveaxis movedim narrow
    native_batch_norm native_group_norm native_layer_norm norm normalize pad permute pixel_shuffle
    pixel_unshuffle prod ravel real repeat repeat_interleave reshape resolve_conj resolve_neg rfft
    rfft2 rfftn rms_norm roll rot90 select short softmax softmin split split_with_sizes squeeze std
    std_mean sum swapaxes swapdims t take_along_dim tensor_split tile to transpose tril triu type
    unbind unflatten unfold unsafe_chunk unsafe_split unsqueeze upsample upsample_bicubic2d
    upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d
    upsample_trilinear3d var var_mean vector_norm view view_as_complex view_as_real vsplit
"""

# Linear or alike in each of their first two arguments, row by row.
_OF_FIRST_TWO = """
    bilinear gru gru_cell lstm lstm_cell rnn_relu rnn_relu_cell rnn_tanh rnn_tanh_cell
"""

# Products of matrices. With images on both sides they may sort: a matrix can be a permutation.
_PRODUCTS = """
    addbmm addmm addmv addr baddbmm bmm dot einsum inner kron matmul mm mv outer
    scaled_dot_product_attention tensordot vdot
"""

# Of these, the ones that keep the first of three or more dimensions apart.
_BATCHED = set(_functions("baddbmm bmm matmul scaled_dot_product_attention"))

# They read the places of the largest numbers; what is then done with those is seen.
_INDICES = set(_functions("argmax argmin max min embedding"))


def _of_images(arguments: Iterable[Any], of_images: OfImages) -> list[Tensor]:
    found = []
    for argument in arguments:
        if isinstance(argument, Tensor):
            found += [argument] if of_images(argument) else []
        elif isinstance(argument, tuple | list):
            found += _of_images(argument, of_images)
        elif isinstance(argument, slice):
            found += _of_images((argument.start, argument.stop, argument.step), of_images)
    return found


def _together(args: Any, kwargs: dict[str, Any], of_images: OfImages) -> bool:
    return "out" not in kwargs


def of_first(args: Any, kwargs: dict[str, Any], of_images: OfImages, count: int = 1) -> bool:
    """Whether only the first argument is of images: an index or a weight must not be."""
    others = [*args[count:], *kwargs.values()]
    return bool(args) and "out" not in kwargs and not _of_images(others, of_images)


def _of_first_two(args: Any, kwargs: dict[str, Any], of_images: OfImages) -> bool:
    return of_first(args, kwargs, of_images, 2)


def _product(args: Any, kwargs: dict[str, Any], of_images: OfImages) -> bool:
    return "out" not in kwargs and len(_of_images([*args, *kwargs.values()], of_images)) == 1


def _batched_product(args: Any, kwargs: dict[str, Any], of_images: OfImages) -> bool:
    of_both = _of_images([*args, *kwargs.values()], of_images)
    return _product(args, kwargs, of_images) or (
        "out" not in kwargs and all(tensor.ndim > 2 for tensor in of_both)
    )


def _einsum(args: Any, kwargs: dict[str, Any], of_images: OfImages) -> bool:
    """Whether one operand is of images, or all that are keep one first dimension apart."""
    if _product(args, kwargs, of_images):
        return True
    if not isinstance(args[0], str):
        return False
    operands = args[1] if len(args) == 2 and isinstance(args[1], tuple | list) else args[1:]
    into, _, out = args[0].replace(" ", "").partition("->")
    first = {
        letters[:1]
        for letters, operand in zip(into.split(","), operands, strict=False)
        if of_images(operand)
    }
    return first == {out[:1]} and out[:1].isalpha()


def _where(args: Any, kwargs: dict[str, Any], of_images: OfImages) -> bool:
    return "out" not in kwargs and not _of_images([args[0]], of_images)


def _setitem(args: Any, kwargs: dict[str, Any], of_images: OfImages) -> bool:
    return not _of_images([args[1]], of_images)


BY_SHAPE: dict[Callable[..., Any], Places] = {
    **dict.fromkeys(_functions(_TOGETHER), _together),
    **dict.fromkeys(_functions(_OF_FIRST), of_first),
    **dict.fromkeys(_functions(_OF_FIRST_TWO), _of_first_two),
    **dict.fromkeys(_functions(_PRODUCTS), _product),
    **dict.fromkeys(_BATCHED, _batched_product),
    **dict.fromkeys(_functions("einsum"), _einsum),
    torch.where: _where,
    Tensor.__setitem__: _setitem,
}
"""The functions that place by shape, and on what condition."""


def keeps_kind(func: Callable[..., Any], given: Tensor, made: Tensor) -> bool:
    """Whether a result is still a number of the kind that came in.

    A number that is rounded to an integer, or an integer that becomes a factor, may choose.
    """
    return func in _INDICES or made.is_floating_point() == given.is_floating_point()


BLANK = set(
    _functions("empty_like full_like new_empty new_full new_ones new_zeros ones_like zeros_like")
)
"""Functions that take nothing from a tensor but its shape and type."""

CHANCE = set(
    _functions(
        "bernoulli cauchy exponential geometric log_normal multinomial normal poisson rand "
        "rand_like randint randint_like randn randn_like random randperm uniform"
    )
)
"""Functions that draw random numbers."""

HIDDEN = {
    *_functions("__array__ __dlpack__ data_ptr numpy storage untyped_storage"),
    *(getattr(Tensor, name).__get__ for name in ("_base", "data", "grad")),
    Tensor.data.__set__,  # type: ignore[attr-defined]
}
"""Functions after which a tensor's content can be changed, or seen, without a call."""

QUERIES = {
    *_functions("__len__ dim is_complex is_contiguous is_floating_point numel size stride"),
    *(
        getattr(Tensor, name).__get__
        for name in (
            *("device", "dtype", "grad_fn", "is_cpu", "is_cuda", "is_leaf", "itemsize", "layout"),
            *("nbytes", "ndim", "requires_grad", "shape"),
        )
    ),
}
"""Functions that tell nothing of a tensor's content."""
