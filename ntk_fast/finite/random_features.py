"""Random features with frozen hidden weights: the two linear approximations, ready for any linear model on top."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ntk_fast.finite.network import Network
from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.layers.arc_cosine import Step
from ntk_fast.layers.layer import Layer
from ntk_fast.rows.sklearn_check import validate_data

KERNELS = ("arccos0", "nngp", "ntk")


class RandomFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Features of a random network, whose inner products approach a kernel as the width grows.

    With ridge regression on top, ``kernel="nngp"`` is the lecture's first linear approximation, hidden weights fixed
    and only the readout learnt; ``kernel="ntk"`` is the second, Eq. 5's two blocks.

    Of any other network, "nngp" are what the weights of the last Dense multiply, and a constant for its bias; "ntk" the
    gradient by all parameters that are trained.

    Parameters
    ----------
    kernel : {"nngp", "ntk", "arccos0"}, default "nngp"
        "nngp": ``sigma(h_L) / sqrt(width)``, width features; for ReLU at depth 1 the arc-cosine kernel of order 1
        (Eq. 1). "ntk": the gradient by all parameters, at depth 1
        ``[beta_i sigma'(w_i.x) x, sigma(w_i.x)] / sqrt(width)``, width * (n_features + 1) features. "arccos0": a step
        in place of the activation, the arc-cosine kernel of order 0.
    width : int >= 1, default 1000
    depth : int >= 1, default 1
    activation : as for :class:`ntk_fast.finite.Network`, default "relu"
        Not used by "arccos0".
    network : Layer of ntk_fast.layers, optional
        Any description, in place of `depth` and `activation`; not for "arccos0".
    random_state : int, numpy.random.RandomState or None, default None

    Attributes
    ----------
    network_ : ntk_fast.finite.Network
        The random network.
    n_features_in_ : int

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import RidgeClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> from ntk_fast import finite
    >>> X, y = load_digits(return_X_y=True)
    >>> model = make_pipeline(finite.RandomFeatures(width=300, random_state=0), RidgeClassifier())
    >>> bool(model.fit(X[:1000] / 16, y[:1000]).score(X[1000:] / 16, y[1000:]) > 0.9)
    True
    """

    def __init__(
        self,
        kernel: str = "nngp",
        width: int = 1000,
        depth: int = 1,
        activation: str | ActivationLayer = "relu",
        random_state: int | np.random.RandomState | None = None,
        network: Layer | None = None,
    ) -> None:
        self.kernel = kernel
        self.width = width
        self.depth = depth
        self.activation = activation
        self.random_state = random_state
        self.network = network

    def fit(self, X: ArrayLike, y: Any = None) -> RandomFeatures:
        """Draw the network; of X only the number of columns matters.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
        y : ignored

        Returns
        -------
        self
        """
        if self.kernel not in KERNELS:
            raise ValueError(f"kernel must be one of {', '.join(map(repr, KERNELS))}; got {self.kernel!r}.")
        short: dict[str, Any] = {"depth": self.depth, "activation": self.activation}
        if self.kernel == "arccos0":
            if self.network is not None:
                raise ValueError("network must be None with kernel='arccos0', which is one of steps, by its depth.")
            short["activation"] = Step()
        elif self.network is not None:
            if short != {"depth": 1, "activation": "relu"}:
                raise ValueError("network says it all: depth and activation must not be given beside it.")
            short = {"network": self.network}
        rows = validate_data(self, X, dtype=np.float64)
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        self.network_ = Network.initialize(rows.shape[1], self.width, rng=seed, **short)
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the features of rows.

        Parameters
        ----------
        X : array-like of shape (n, n_features)

        Returns
        -------
        ndarray of shape (n, n_features_out)
        """
        check_is_fitted(self, "network_")
        rows = validate_data(self, X, reset=False, dtype=np.float64)
        if self.kernel == "ntk":
            return self.network_.tangent_features(rows)
        features, shift = self.network_.hidden_features(rows), self.network_.graph.readout.shift
        return np.column_stack([features, np.full(len(rows), shift)]) if shift else features

    @property
    def _n_features_out(self) -> int:
        """The number of output features, which scikit-learn names."""
        if self.kernel == "ntk":
            return self.network_.n_parameters
        readout = self.network_.graph.readout
        return readout.source.n_units + bool(readout.shift)
