"""What explanations and audits share: is a training image the one that was ranked?"""

from __future__ import annotations

import pytest
import torch

from captum_tfa.report.shared import check_same_as_ranked


@pytest.mark.parametrize("size", [1e-3, 0.5, 1.0, 3245.7, 1e8])
@pytest.mark.parametrize("sign", [1, -1])
def test_rounding_of_a_score_of_any_size_is_no_other_image(size: float, sign: int) -> None:
    then = sign * size
    check_same_as_ranked(torch.tensor(then * (1 + 2e-6)), then, 7)


@pytest.mark.parametrize("size", [0.5, 3245.7, 1e8])
@pytest.mark.parametrize("factor", [0.9, 1.1, -1.0, float("nan")])
def test_another_score_is_another_image(size: float, factor: float) -> None:
    with pytest.raises(ValueError, match=r"train_dataset\[7\] scored .* not the same image"):
        check_same_as_ranked(torch.tensor(size * factor), size, 7)
