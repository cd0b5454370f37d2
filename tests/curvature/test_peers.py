"""Other packages' curvatures, where they compute the same: `docs/scores.md` says how."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import curvlinops
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_tfa.curvature import fit_curvature
from tests.curvature.slow import MLP, block, by_name, dataset, flat, gradients, matrix
from tests.oracle import EXACT, Case, head, relative_error

PLAIN_CNN = Case(
    lambda: nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(3, 4, 2, bias=False),
        nn.Tanh(),
        *head(4),
    ),
    ((2, 4, 4),),
)
CASES = {"mlp": MLP, "cnn": PLAIN_CNN}
cases = pytest.mark.parametrize("case", list(CASES))


def of_curvlinops(name: str, model: nn.Module, data: TensorDataset, **options: Any) -> Tensor:
    parameters = list(model.parameters())
    made = getattr(curvlinops, f"{name}LinearOperator")(
        model, nn.CrossEntropyLoss(), parameters, [data.tensors], **options
    )
    size = sum(parameter.numel() for parameter in parameters)
    return made @ torch.eye(size, dtype=torch.float64)


@cases
@pytest.mark.parametrize(
    ("kind", "theirs"), [("hessian", "Hessian"), ("ggn", "GGN"), ("fisher", "EF")]
)
def test_dense_matrices_are_those_of_curvlinops(case: str, kind: str, theirs: str) -> None:
    model, data = CASES[case].model(), dataset(CASES[case], 6)
    curvature = fit_curvature(model, data, kind=kind, labels="true", damping=300.0)
    right = of_curvlinops(theirs, model, data)
    assert relative_error(matrix(curvature, model), right) < 1e-7


@cases
def test_ekfac_is_that_of_curvlinops(case: str) -> None:
    model, data = CASES[case].model(), dataset(CASES[case], 40)
    curvature = fit_curvature(model, data, labels="true")
    right = of_curvlinops(
        "EKFAC", model, data, fisher_type="empirical", separate_weight_and_bias=False
    )
    assert relative_error(matrix(curvature, model), right) < 1e-7


@cases
def test_kfac_is_that_of_curvlinops_but_for_each_block_s_trace(case: str) -> None:
    model, data = CASES[case].model(), dataset(CASES[case], 40)
    given = matrix(fit_curvature(model, data, kind="kfac", labels="true"), model)
    theirs = of_curvlinops(
        "KFAC", model, data, fisher_type="empirical", separate_weight_and_bias=False
    )
    squares = gradients(model, data).square().mean(0).diag()
    for prefix, layer in model.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            names = [f"{prefix}.weight", f"{prefix}.bias"]
            ours, right, trace = (block(each, model, *names) for each in (given, theirs, squares))
            wanted = right * (trace.trace() / right.trace())
            assert relative_error(ours, wanted) < 1e-7, prefix


def test_influences_are_those_of_captum(tmp_path: Path) -> None:
    """Captum adds up the Hessian of its loss over the data, and damps absolutely."""
    from captum.influence._core.influence_function import NaiveInfluenceFunction

    model, data = MLP.model(), dataset(MLP, 8)
    tests = dataset(MLP, 3, seed=5)
    curvature = fit_curvature(model, data, kind="hessian", damping=200.0)
    torch.save(model.state_dict(), tmp_path / "checkpoint")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = NaiveInfluenceFunction(
            model,
            data,
            str(tmp_path / "checkpoint"),
            loss_fn=nn.CrossEntropyLoss(reduction="none"),
            batch_size=4,
            projection_dim=10_000,
            hessian_reg=len(data) * curvature.absolute_damping,
            hessian_inverse_tol=0.0,
        )
        right = theirs.influence(tests.tensors)
    solved = flat(curvature.solve(by_name(gradients(model, tests), model)))
    ours = solved @ gradients(model, data).T / len(data)
    assert relative_error(ours, right.to(ours)) < 1e-5


@cases
def test_influences_are_those_of_kronfluence(case: str, tmp_path: Path) -> None:
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments, ScoreArguments
    from kronfluence.task import Task
    from kronfluence.utils.dataset import DataLoaderKwargs

    class Classification(Task):
        def compute_train_loss(self, batch: Any, model: nn.Module, sample: bool = False) -> Tensor:
            return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="sum")

        def compute_measurement(self, batch: Any, model: nn.Module) -> Tensor:
            return self.compute_train_loss(batch, model)

    model, data, tests = CASES[case].model(), dataset(CASES[case], 30), dataset(CASES[case], 3, 5)
    curvature = fit_curvature(model, data, labels="true", damping=0.1)
    double = torch.float64
    analyzer = Analyzer(
        "curvature",
        prepare_model(CASES[case].model(), Classification()),
        Classification(),
        cpu=True,
        output_dir=str(tmp_path),
        disable_tqdm=True,
        disable_model_save=True,
    )
    analyzer.set_dataloader_kwargs(DataLoaderKwargs(num_workers=0))
    analyzer.fit_all_factors(
        "factors",
        data,
        per_device_batch_size=10,
        factor_args=FactorArguments(
            use_empirical_fisher=True,
            activation_covariance_dtype=double,
            gradient_covariance_dtype=double,
            per_sample_gradient_dtype=double,
            lambda_dtype=double,
        ),
    )
    analyzer.compute_pairwise_scores(
        "scores",
        "factors",
        tests,
        data,
        per_device_query_batch_size=3,
        per_device_train_batch_size=10,
        score_args=ScoreArguments(
            damping_factor=curvature.absolute_damping,
            per_sample_gradient_dtype=double,
            precondition_dtype=double,
            score_dtype=double,
        ),
    )
    right = analyzer.load_pairwise_scores("scores")["all_modules"]
    solved = flat(curvature.solve(by_name(gradients(model, tests), model)))
    ours = solved @ gradients(model, data).T
    assert relative_error(ours, right.to(ours)) < EXACT
