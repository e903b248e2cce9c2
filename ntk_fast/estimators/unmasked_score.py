"""`score` of scikit-learn's mixins, which takes what a mask hides for targets."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from ntk_fast.validation import refuse_masked


class UnmaskedScore:
    """Stands before scikit-learn's mixin, whose `score` it calls."""

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return R2 of the predictions, or the share of right labels: see scikit-learn's mixins.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
        y : array-like of shape (n,) or (n, n_targets)
            Targets or labels.
        sample_weight : array-like of shape (n,), optional

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If values are masked, or not as in `fit`.
        """
        refuse_masked(y, "y")
        refuse_masked(sample_weight, "sample_weight")
        score: Any = super().score  # type: ignore[misc]
        return float(score(X, y, sample_weight=sample_weight))
