"""A score in which groups of parameters count differently [li2026learning].

    S = ⟨g_train, K Diag(w) g_test⟩ ,

over its norms, if the score has any. Weights act on the test side alone, once a test example, so a
map or a ranking costs what it costs without.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import Tensor

from captum_tfa.gradients import Gradients, StoredGradients
from captum_tfa.gradients.selection import choose
from captum_tfa.scores.score import Score
from captum_tfa.scores.weights import ParameterWeights


class WeightedScore(Score):
    """``⟨g_train, K Diag(w) g_test⟩`` over the norms of these two; `Score.weighted` makes it.

    With equal weights a score that divides by the test gradient's norm stays what it is, and
    another one is multiplied by the weight.

    Args:
        score: any score that is no sum.
        weights: for every parameter that counts in it.

    Raises:
        TypeError: ``weights`` are none.
        ValueError: they are of other parameters than count in the score.
    """

    def __init__(self, score: Score, weights: ParameterWeights) -> None:
        if not isinstance(weights, ParameterWeights):
            raise TypeError(
                f"weights is a {type(weights).__name__}; give ParameterWeights, as learn_weights "
                "returns them."
            )
        super().__init__(score.model, score.loss_fn, score.output_fn, score.choice)
        self._gradients, self._measured = score._gradients, score._measured
        self._by_parameter = weights.by_parameter
        counting = list(choose(score.model, score.choice))
        lacking = [name for name in counting if name not in self._by_parameter]
        unknown = [name for name in self._by_parameter if name not in counting]
        if lacking or unknown:
            what = [("lack", lacking), ("have unknown", unknown)]
            told = [f"{verb} {', '.join(some[:3])}" for verb, some in what if some]
            raise ValueError(
                f"The weights are of other parameters than count in the score: they "
                f"{' and '.join(told)}. Learn them with this score."
            )
        self.symmetric = False
        self.score, self.name = score, f"weighted {score.name}"
        self.weights = (weights, *score.weights)

    def prepared(self, tests: StoredGradients) -> StoredGradients:
        """``K Diag(w) g_test``."""
        return self.score.prepared(tests.scaled(self._by_parameter))

    def prepared_back(self, trains: StoredGradients) -> StoredGradients:
        """``Diag(w) Kᵀ g_train``."""
        return self.score.prepared_back(trains).scaled(self._by_parameter)

    def prepared_parts(
        self, tests: StoredGradients, groups: Sequence[Collection[str]]
    ) -> list[StoredGradients]:
        """As `Score.prepared_parts`."""
        return self.score.prepared_parts(tests.scaled(self._by_parameter), groups)

    def of(self, train: Gradients, tests: StoredGradients, rows: Tensor | None) -> Tensor:
        """What the score makes of the weighted test gradients."""
        return self.score.of(train, tests, rows)
