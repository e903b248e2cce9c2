"""What papers do to the pixels of images before convolutional kernels see them, as scikit-learn transformers."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ntk_fast.estimators.saving import SavedEstimator
from ntk_fast.estimators.scaling import ROUNDINGS
from ntk_fast.estimators.targets import FLOATS
from ntk_fast.rows.sklearn_check import validate_data
from ntk_fast.validation import check_not_negative, check_whole_number

Reals = NDArray[np.floating]


class _PixelTransformer(OneToOneFeatureMixin, TransformerMixin, SavedEstimator, BaseEstimator):
    """Pixels in, as many pixels out, in the precision that they came in."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class ChannelScaler(_PixelTransformer):
    """Pixels less the mean of their channel, divided by the channel's deviation.

    One mean and one deviation a channel, over all images and positions: pixels of an image stay comparable, which
    columns that are scaled one by one do not.

    Parameters
    ----------
    n_channels : int >= 1, default 1
        Channels come last, as kernels take images: ``images.reshape(len(images), -1)`` of an array of shape
        (n, height, width, n_channels).

    Attributes
    ----------
    mean_, scale_ : ndarray of shape (n_channels,)
        A channel that is constant has the scale 1.
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> rows = np.array([[0.0, 10.0, 2.0, 30.0], [4.0, 10.0, 2.0, 30.0]])  # of two positions and two channels
    >>> scaler = ntk.ChannelScaler(n_channels=2).fit(rows)
    >>> scaler.mean_, scaler.scale_.round(3)
    (array([ 2., 20.]), array([ 1.414, 10.   ]))
    >>> scaler.transform(rows).round(3)
    array([[-1.414, -1.   ,  0.   ,  1.   ],
           [ 1.414, -1.   ,  0.   ,  1.   ]])
    """

    def __init__(self, n_channels: int = 1) -> None:
        self.n_channels = n_channels

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Compute the mean and the deviation of each channel.

        Parameters
        ----------
        X : array-like of shape (n, n_positions * n_channels)
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If rows do not consist of so many channels.
        """
        rows = validate_data(self, X, dtype=FLOATS)
        n_channels = check_whole_number(self.n_channels, "n_channels", 1)
        if rows.shape[1] % n_channels:
            raise ValueError(f"n_channels must divide the number of columns, {rows.shape[1]}; got {n_channels}.")
        pixels = rows.reshape(-1, n_channels)
        largest = np.abs(pixels).max(axis=0).astype(np.float64)
        unit = np.where(largest > 0, largest, 1.0)  # nothing over- or underflows where it is 1
        mean = (pixels / unit).mean(axis=0)
        deviation = np.sqrt(((pixels / unit - mean) ** 2).mean(axis=0))
        varies = deviation > ROUNDINGS * np.finfo(rows.dtype).eps
        self.mean_, self.scale_ = mean * unit, np.where(varies, deviation * unit, 1.0)
        return self

    def transform(self, X: ArrayLike) -> Reals:
        """Return scaled rows, of the same shape and dtype.

        Parameters
        ----------
        X : array-like of shape (n, n_positions * n_channels)

        Returns
        -------
        ndarray of shape (n, n_positions * n_channels)

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError
            Before `fit`; if `X` is not as it was there.
        """
        rows, pixels = self._pixels(X)
        return np.asarray(((pixels - self.mean_) / self.scale_).reshape(rows.shape), dtype=rows.dtype)

    def inverse_transform(self, X: ArrayLike) -> Reals:
        """Return the rows that scaled ones come from.

        Parameters
        ----------
        X : array-like of shape (n, n_positions * n_channels)

        Returns
        -------
        ndarray of shape (n, n_positions * n_channels)

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError
            Before `fit`; if `X` is not as it was there.
        """
        rows, pixels = self._pixels(X)
        return np.asarray((pixels * self.scale_ + self.mean_).reshape(rows.shape), dtype=rows.dtype)

    def _pixels(self, X: ArrayLike) -> tuple[Reals, Reals]:
        check_is_fitted(self, "mean_")
        rows = validate_data(self, X, reset=False, dtype=FLOATS)
        return rows, rows.reshape(len(rows), -1, len(self.mean_))


class ZCAWhitener(_PixelTransformer):
    """Regularised ZCA whitening: rows less their mean, times (C + r tr(C) / p)^(-1/2), with C their covariance.

    Of all maps that make columns uncorrelated it changes images least; the regularisation r keeps what hardly varies
    from being blown up (Shankar et al. 2020, Lee et al. 2020). It takes the eigenvalues of C, p x p for p columns.

    Parameters
    ----------
    regularization : float >= 0, default 0.1
        r, in units of the mean variance of a column: the same for images of any unit. 0: directions that do not vary
        are left out. The larger, the closer to dividing all columns by one number.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features,)
    whitening_, unwhitening_ : ndarray of shape (n_features, n_features)
        Symmetric: (C + r tr(C) / p)^(-1/2), and its inverse.
    n_features_in_ : int

    References
    ----------
    V. Shankar et al., *Neural Kernels Without Tangents*, ICML 2020. J. Lee et al., *Finite Versus Infinite Neural
    Networks: an Empirical Study*, NeurIPS 2020, section 3.11.

    Examples
    --------
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> from sklearn.datasets import load_digits
    >>> X, _ = load_digits(return_X_y=True)
    >>> white = ntk.ZCAWhitener(regularization=0.0).fit_transform(X)
    >>> varies = X.std(axis=0) > 0
    >>> bool(np.allclose(np.cov(white[:, varies].T, bias=True), np.eye(varies.sum())))
    True
    """

    def __init__(self, regularization: float = 0.1) -> None:
        self.regularization = regularization

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Compute the mean and the covariance.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If `regularization` is no number >= 0, or `X` is not as above.
        """
        rows = validate_data(self, X, dtype=FLOATS)
        regularization = check_not_negative(self.regularization, "regularization")
        unit = float(np.abs(rows).max()) or 1.0  # nothing over- or underflows where it is 1
        scaled = rows.astype(np.float64) / unit
        mean = scaled.mean(axis=0)
        values, vectors = np.linalg.eigh((scaled - mean).T @ (scaled - mean) / len(rows))
        values = values.clip(0)
        smallest = ROUNDINGS * np.finfo(rows.dtype).eps ** 2 * len(values)
        roots = np.sqrt(values + regularization * values.mean())
        varies = values > max(smallest, len(values) * np.finfo(np.float64).eps * values.max())
        varies |= (regularization > 0) & (values.max() > smallest)
        inverse = np.where(varies, 1 / np.where(varies, roots, 1.0), 0.0)
        self.mean_ = mean * unit
        self.whitening_ = (vectors * inverse) @ vectors.T / unit
        self.unwhitening_ = (vectors * np.where(varies, roots, 0.0)) @ vectors.T * unit
        return self

    def transform(self, X: ArrayLike) -> Reals:
        """Return whitened rows, of the same dtype.

        Parameters
        ----------
        X : array-like of shape (n, n_features)

        Returns
        -------
        ndarray of shape (n, n_features)

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError
            Before `fit`; if `X` is not as it was there.
        """
        rows = self._checked(X)
        return np.asarray((rows - self.mean_) @ self.whitening_, dtype=rows.dtype)

    def inverse_transform(self, X: ArrayLike) -> Reals:
        """Return the rows that whitened ones come from.

        Parameters
        ----------
        X : array-like of shape (n, n_features)

        Returns
        -------
        ndarray of shape (n, n_features)

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError
            Before `fit`; if `X` is not as it was there.
        """
        rows = self._checked(X)
        return np.asarray(rows @ self.unwhitening_ + self.mean_, dtype=rows.dtype)

    def _checked(self, X: ArrayLike) -> Reals:
        check_is_fitted(self, "mean_")
        return np.asarray(validate_data(self, X, reset=False, dtype=FLOATS))
