"""Small nets of the ordinary layer types, each with few enough numbers for a slow oracle."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.oracle.attention_models import ATTENTION_NETS, RECURRENT_NETS
from tests.oracle.cases import CLASSES, Case, head
from tests.oracle.unusual_models import OUTPUT_NETS, UNUSUAL_NETS


class SideInput(nn.Module):
    """An image and integers that are looked up in a table."""

    def __init__(self, padding_idx: int | None) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 4, padding_idx=padding_idx)
        self.image = nn.Linear(6, 4)
        self.out = nn.Linear(4, CLASSES)

    def forward(self, image: Tensor, words: Tensor) -> Tensor:
        return self.out((self.table(words) * self.image(image).unsqueeze(1)).sum(1).tanh())


class Positions(nn.Module):
    """Tokens to which a looked-up position is added: a table that sees no example."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.positions = nn.Embedding(tokens, width)
        self.tokens = tokens

    def forward(self, input: Tensor) -> Tensor:
        return (input + self.positions(torch.arange(self.tokens, device=input.device))).tanh()


class FirstOfSequence(nn.Module):
    """Works with the sequence first, ``[T, B, D]``, and reads the first token only."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, width)
        self.out = nn.Linear(width, CLASSES)

    def forward(self, input: Tensor) -> Tensor:
        return self.out(self.project(input.transpose(0, 1)).tanh()[0])


def small_cnn(activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """A convolutional net for 8x8 images with 3 channels."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        activation(),
        nn.AvgPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1, groups=2),
        activation(),
        nn.AdaptiveAvgPool2d(2),
        *head(24),
    )


LAYER_NETS: dict[str, Case] = {
    "linear": Case(
        lambda: nn.Sequential(nn.Linear(6, 4), nn.GELU(), nn.Linear(4, CLASSES)), ((6,),)
    ),
    "linear without bias on leading dimensions": Case(
        lambda: nn.Sequential(nn.Linear(5, 3, bias=False), nn.Tanh(), *head(18)), ((2, 3, 5),)
    ),
    "bilinear": Case(lambda: _Bilinear(), ((6,),)),
    "conv1d": Case(
        lambda: nn.Sequential(nn.Conv1d(3, 4, 3, stride=2), nn.Tanh(), *head(16)), ((3, 9),)
    ),
    "conv2d": Case(
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), *head(64)), ((3, 4, 4),)
    ),
    "conv2d strided and dilated, two layers": Case(
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
            nn.Softplus(),
            nn.Conv2d(4, 4, 2, groups=2, bias=False),
            nn.Tanh(),
            *head(36),
        ),
        ((2, 8, 6),),
    ),
    "conv3d": Case(
        lambda: nn.Sequential(nn.Conv3d(2, 4, 2, groups=2), nn.Tanh(), *head(32)),
        ((2, 3, 3, 3),),
    ),
    "conv_transpose1d": Case(
        lambda: nn.Sequential(
            nn.ConvTranspose1d(3, 4, 3, stride=2, output_padding=1), nn.Tanh(), *head(40)
        ),
        ((3, 4),),
    ),
    "conv_transpose2d": Case(
        lambda: nn.Sequential(
            nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, groups=2), nn.Tanh(), *head(54)
        ),
        ((4, 2, 2),),
    ),
    "conv_transpose3d": Case(
        lambda: nn.Sequential(nn.ConvTranspose3d(2, 2, 2), nn.Tanh(), *head(54)), ((2, 2, 2, 2),)
    ),
    "batch_norm1d": Case(
        lambda: nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, CLASSES)),
        ((6,),),
    ),
    "batch_norm2d": Case(
        lambda: nn.Sequential(
            nn.BatchNorm2d(3),
            nn.Conv2d(3, 4, 2),
            nn.BatchNorm2d(4, affine=False),
            nn.Tanh(),
            *head(36),
        ),
        ((3, 4, 4),),
    ),
    "batch_norm3d": Case(
        lambda: nn.Sequential(nn.BatchNorm3d(2), nn.Tanh(), *head(54)), ((2, 3, 3, 3),)
    ),
    "layer_norm": Case(
        lambda: nn.Sequential(
            nn.Linear(5, 6), nn.LayerNorm(6), nn.Tanh(), nn.LayerNorm((3, 6), bias=False), *head(18)
        ),
        ((3, 5),),
    ),
    "layer_norm without parameters": Case(
        lambda: nn.Sequential(nn.LayerNorm(6, elementwise_affine=False), nn.Linear(6, CLASSES)),
        ((6,),),
    ),
    "rms_norm": Case(
        lambda: nn.Sequential(nn.Linear(5, 6), nn.RMSNorm(6), nn.Tanh(), *head(18)), ((3, 5),)
    ),
    "group_norm": Case(
        lambda: nn.Sequential(nn.Conv2d(3, 4, 2), nn.GroupNorm(2, 4), nn.Tanh(), *head(36)),
        ((3, 4, 4),),
    ),
    "instance_norm": Case(
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 2), nn.InstanceNorm2d(4, affine=True), nn.Tanh(), *head(36)
        ),
        ((3, 4, 4),),
    ),
    "instance_norm with running statistics": Case(
        lambda: nn.Sequential(
            nn.Conv1d(3, 4, 2),
            nn.InstanceNorm1d(4, affine=True, track_running_stats=True),
            nn.Tanh(),
            *head(16),
        ),
        ((3, 5),),
    ),
    "prelu": Case(
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 2), nn.PReLU(4), nn.Conv2d(4, 4, 2), nn.PReLU(), *head(16)
        ),
        ((3, 4, 4),),
    ),
    "embedding beside an image": Case(lambda: SideInput(None), ((6,), (3,)), index_inputs=(1,)),
    "embedding with padding_idx": Case(lambda: SideInput(2), ((6,), (3,)), index_inputs=(1,)),
    "embedding of positions": Case(
        lambda: nn.Sequential(nn.Linear(5, 4), Positions(3, 4), *head(12)), ((3, 5),)
    ),
    "sequence first, one token read": Case(lambda: FirstOfSequence(4), ((3, 4),)),
    "small cnn": Case(small_cnn, ((3, 8, 8),)),
    "max pooling": Case(
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2), *head(16)
        ),
        ((3, 4, 4),),
    ),
}


class _Bilinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bilinear = nn.Bilinear(3, 3, 4)
        self.out = nn.Linear(4, CLASSES)

    def forward(self, input: Tensor) -> Tensor:
        left, right = input.chunk(2, 1)
        return self.out(self.bilinear(left, right.tanh()).tanh())


NETS = {**LAYER_NETS, **ATTENTION_NETS, **RECURRENT_NETS, **UNUSUAL_NETS, **OUTPUT_NETS}
