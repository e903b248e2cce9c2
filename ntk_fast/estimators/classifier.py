"""NTKClassifier: one-versus-rest kernel ridge regression of labels. The machinery is in `ridge`."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_sample_weight

from ntk_fast.estimators.calibration import fit_slope, probabilities
from ntk_fast.estimators.fit_warnings import FAR_ABOVE_THE_DIAGONAL, warn_of_a_useless_classifier
from ntk_fast.estimators.parameters import choose_report
from ntk_fast.estimators.ridge import LEAVE_ONE_OUT, KernelRidge
from ntk_fast.estimators.scaling import TargetScaling
from ntk_fast.estimators.targets import checked_classification, checked_weights
from ntk_fast.estimators.unmasked_score import UnmaskedScore
from ntk_fast.kernels import Kernel
from ntk_fast.solvers.base import Report


class NTKClassifier(UnmaskedScore, ClassifierMixin, KernelRidge):
    """Kernel ridge classification: one-versus-rest regression on one-hot targets.

    A row's target is 1 - 1/n_classes for its class and -1/n_classes for the others; the class of the largest prediction
    wins. Rows may have several labels, or none: then each label has targets 1/2 and -1/2.

    Parameters
    ----------
    kernel, ridge, solver, scale_columns, fit_intercept, leave_one_out, n_centres, rank, tolerance, max_iterations, \
random_state, n_threads
        As for :class:`NTKRegressor`; the leave-one-out error is that of the targets. `leave_one_out` is what
        :meth:`predict_proba` needs.
    class_weight : dict of weights by class, "balanced" or None, default None
        Multiplies the weights of a class's rows. "balanced": by n / (n_classes times the rows of the class).

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        With several labels a row, their positions.
    leave_one_out_predictions_ : ndarray as :meth:`decision_function` returns, or None
        For each training row of the model fitted without it.
    leave_one_out_score_ : float or None
        The share of rows that they get right.
    probability_slope_ : float or None
        What :meth:`predict_proba` multiplies predictions by.
    X_fit_, dual_coef_, kernel_, column_scaling_, target_scaling_, ridge_, relative_ridge_, solver_, n_iter_, \
residuals_, path_ridges_, path_errors_, leave_one_out_is_estimate_, n_features_in_
        As for :class:`NTKRegressor`; of two classes there is one target, the second one's. Path errors are those of
        targets 0 and 1.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = NTKClassifier().fit(X[:1000], y[:1000])
    >>> model.score(X[1000:], y[1000:]) > 0.96
    True
    >>> bool(model.predict_proba(X[1000:1001]).max() > 0.9)
    True
    """

    NOT_IN_OLD_FILES = {**KernelRidge.NOT_IN_OLD_FILES, "is_multilabel_": False, "probability_slope_": None}  # noqa: RUF012

    def __init__(
        self,
        kernel: Kernel | None = None,
        ridge: float | str = LEAVE_ONE_OUT,
        solver: str = "auto",
        *,
        class_weight: Any = None,
        scale_columns: str | None = "auto",
        fit_intercept: bool = True,
        leave_one_out: bool = True,
        n_centres: int | None = None,
        rank: int = 750,
        tolerance: float = 1e-4,
        max_iterations: int = 1000,
        random_state: Any = None,
        n_threads: int | None = None,
    ) -> None:
        super().__init__(
            kernel,
            ridge,
            solver,
            scale_columns=scale_columns,
            fit_intercept=fit_intercept,
            leave_one_out=leave_one_out,
            n_centres=n_centres,
            rank=rank,
            tolerance=tolerance,
            max_iterations=max_iterations,
            random_state=random_state,
            n_threads=n_threads,
        )
        self.class_weight = class_weight

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        report: Report | None = None,
        client: Any = None,
    ) -> Self:
        """Fit.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
        y : array-like of shape (n,) or (n, n_labels)
            Labels, at least two different ones; or 0 and 1 for each of several labels.
        sample_weight : array-like of shape (n,), optional
            Weights >= 0 of the rows' squared errors.
        report : callable, optional
            Called with what is being done and the share of it that is done, from 0 to 1 (None: it cannot be known).
        client : dask.distributed.Client, optional
            Its workers share the products of solvers "cg" and "nystroem", of which "auto" then takes one. The model
            keeps nothing of it.

        Returns
        -------
        The estimator itself.

        Raises
        ------
        TypeError, ValueError
            As in :meth:`NTKRegressor.fit`, and if all labels are the same.
        """
        rows, y = checked_classification(self, X, y)
        weights, report = self._weights(checked_weights(sample_weight, rows), y), choose_report(report)
        is_multilabel = y.ndim == 2
        if is_multilabel:
            classes, targets = np.arange(y.shape[1]), (y != 0) - 0.5
        else:
            classes, labels = np.unique(y, return_inverse=True)
            present = np.unique(labels if weights is None else labels[weights > 0])
            if len(present) < 2:
                only = classes[present].tolist()[0]
                raise ValueError(f"y must hold at least two classes; got one class, {only!r}.")
            # of two classes' targets one is the other's negative
            targets = (labels[:, None] == np.arange(len(classes))) - 1 / len(classes)
            targets = targets if len(classes) > 2 else targets[:, 1:]
        left_out = self._solve(rows, targets, weights, _centring, report, client)
        self.classes_, self.is_multilabel_ = classes, is_multilabel
        self.leave_one_out_predictions_ = self.leave_one_out_score_ = self.probability_slope_ = None
        if left_out is not None:
            self.leave_one_out_predictions_ = self._shaped(left_out)
            right = self._labels(self.leave_one_out_predictions_) == y
            right = right.all(axis=1) if is_multilabel else right
            self.leave_one_out_score_ = float(np.average(right, weights=weights))
            self.probability_slope_ = fit_slope(left_out, targets > 0, weights, not is_multilabel)
            if not is_multilabel and self.relative_ridge_ <= FAR_ABOVE_THE_DIAGONAL and self.dual_coef_.any():
                warn_of_a_useless_classifier(self.leave_one_out_score_, labels, weights, self.ridge == LEAVE_ONE_OUT)
        return self

    def _weights(self, weights: NDArray[np.float64] | None, y: NDArray[Any]) -> NDArray[np.float64] | None:
        if self.class_weight is None:
            return weights
        if y.ndim == 2:
            raise ValueError(f"class_weight must be None where rows have several labels; got {self.class_weight!r}.")
        if not (isinstance(self.class_weight, dict) or self.class_weight == "balanced"):
            raise ValueError(f"class_weight must be a dict, 'balanced' or None; got {self.class_weight!r}.")
        of_classes: NDArray[np.float64] = compute_sample_weight(self.class_weight, y)
        if not (np.isfinite(of_classes) & (of_classes >= 0)).all():
            raise ValueError(f"class_weight must hold finite weights >= 0; got {self.class_weight!r}.")
        return of_classes if weights is None else of_classes * weights

    def _shaped(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values if values.shape[1] > 1 or self.is_multilabel_ else values[:, 0]

    def _labels(self, scores: NDArray[np.float64]) -> NDArray[Any]:
        if self.is_multilabel_:
            return (scores > 0).astype(int)
        return self.classes_[scores.argmax(axis=1) if scores.ndim == 2 else (scores > 0).astype(int)]

    def decision_function(self, X: ArrayLike, *, client: Any = None) -> NDArray[np.float64]:
        """Return the predicted targets: of each class or label, or of two classes the second one's.

        Parameters
        ----------
        X : array-like of shape (m, n_features)
        client : dask.distributed.Client, optional
            Its workers share the work.

        Returns
        -------
        ndarray of shape (m, n_classes), or (m,) for two classes
        """
        return self._shaped(self._function(X, client))

    def predict(self, X: ArrayLike, *, client: Any = None) -> NDArray[Any]:
        """Return the classes of the largest predicted targets, or 0 and 1 for each of several labels.

        Parameters
        ----------
        X : array-like of shape (m, n_features)
        client : dask.distributed.Client, optional
            Its workers share the work.

        Returns
        -------
        ndarray of shape (m,) or (m, n_labels)

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError
            Before `fit`; if `X` is not as it was there.
        """
        return self._labels(self.decision_function(X, client=client))

    def predict_proba(self, X: ArrayLike, *, client: Any = None) -> NDArray[np.float64]:
        """Return probabilities of the classes, calibrated on leave-one-out predictions (see `calibration`).

        They are softmax(slope prediction) with the slope that makes the training labels likeliest where each row's
        prediction is that of the model fitted without it; the likeliest class is the predicted one. They are no
        posterior of a Gaussian process.

        Parameters
        ----------
        X : array-like of shape (m, n_features)
        client : dask.distributed.Client, optional
            Its workers share the work.

        Returns
        -------
        ndarray of shape (m, n_classes) or (m, n_labels)

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError
            Before `fit`; if `X` is not as it was there; if there are no leave-one-out predictions.
        """
        values = self._function(X, client)
        if self.probability_slope_ is None:
            raise ValueError(
                "predict_proba is calibrated on leave-one-out predictions, and this model was fitted without any: fit "
                "it anew with leave_one_out=True."
            )
        return probabilities(values, self.probability_slope_, not self.is_multilabel_)


def _centring(targets: NDArray[np.float64], weights: NDArray[np.float64] | None, is_centred: bool) -> TargetScaling:
    """Return a scaling that takes the targets' mean from them, and leaves their scale, which is the same for all."""
    mean = np.average(targets, axis=0, weights=weights) if is_centred else np.zeros(targets.shape[1])
    return TargetScaling(mean, 1.0)
