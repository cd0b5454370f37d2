"""What some of the parameters contribute to a score: a score of its own, with maps of its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import Tensor

from captum_tfa.gradients import Gradients, StoredGradients
from captum_tfa.gradients.selection import ParameterChoice, choose
from captum_tfa.scores.score import Score


class PartOfScore(Score):
    """``⟨g_train, K P g_test⟩`` over the norms of the whole score (own).

    ``P`` keeps the chosen parameters of the test gradient. Parts of groups that make up all
    parameters add up to the score, and their maps to its map. `Score.part_of` makes it.

    Args:
        score: the whole.
        parameters: which parameters the part is of, as for `Score`.

    Raises:
        TypeError: as `Score`.
        ValueError: as `Score`; none of them counts in the score.
    """

    def __init__(self, score: Score, parameters: ParameterChoice) -> None:
        super().__init__(score.model, score.loss_fn, score.output_fn, score.choice)
        self._gradients, self._measured = score._gradients, score._measured
        counting = choose(score.model, score.choice)
        self.names = tuple(name for name in choose(score.model, parameters) if name in counting)
        if not self.names:
            raise ValueError(
                "None of these parameters counts in the score, so it has no part of theirs. It "
                f"counts {', '.join(list(counting)[:4])}{', ...' if len(counting) > 4 else ''}."
            )
        # Without K in between it is the same from either side.
        self.symmetric = score.symmetric and type(score).prepared is Score.prepared
        self.score, self.name = score, f"part of {score.name}"
        self.weights = score.weights

    def prepared(self, tests: StoredGradients) -> StoredGradients:
        """``K P g_test``, with the norm of ``K g_test``."""
        part = self.score.prepared(tests.only(self.names))
        return StoredGradients(part.by_name, self.score.prepared(tests).squares)

    def prepared_back(self, trains: StoredGradients) -> StoredGradients:
        """``P Kᵀ g_train``, with the norm of ``Kᵀ g_train``."""
        whole = self.score.prepared_back(trains)
        return StoredGradients(whole.only(self.names).by_name, whole.squares)

    def prepared_parts(
        self, tests: StoredGradients, groups: Sequence[Collection[str]]
    ) -> list[StoredGradients]:
        """As `Score.prepared_parts`."""
        return self.score.prepared_parts(tests.only(self.names), groups)

    def of(self, train: Gradients, tests: StoredGradients, rows: Tensor | None) -> Tensor:
        """What the whole score makes of the part's inner product."""
        return self.score.of(train, tests, rows)
