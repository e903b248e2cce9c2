"""Training of a linear model in closed form: gradient flow, or gradient descent, seen through its kernel."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ntk_fast import lapack
from ntk_fast.finite.products import Reals
from ntk_fast.schedule.threads import limited_blas
from ntk_fast.validation import check_positive, check_rows, check_vector, refuse_not_finite

#: How far a kernel may be from symmetric or positive semi-definite, relative to its largest entry.
ROUNDING = 1e-8


class KernelFlow:
    """The outputs of a model that is linear in its parameters, while it is trained on ``|f - y|^2 / 2``.

    Gradient flow is ``df/dt = -K (f - y)``, so ``f(t) = y + exp(-K t) (f(0) - y)``; after k steps of gradient descent
    with step size eta the exponential is ``(1 - eta K)^k``. With an empirical kernel this is the linearisation trained
    alongside a network; with the infinite-width NTK it is what networks of growing width do.

    Parameters
    ----------
    kernel : array-like of shape (n, n)
        Symmetric and positive semi-definite, up to rounding.
    y : array-like of shape (n,)
    initial : array-like of shape (n,), optional
        f(0); None: zeros.
    test_kernel : array-like of shape (m, n), optional
        Of test rows with the training rows.
    initial_test : array-like of shape (m,), optional
        f(0) of the test rows; None: zeros.
    n_threads : int >= 1, optional
        As in :func:`ntk_fast.gram`, of LAPACK.

    Raises
    ------
    TypeError, ValueError
        If shapes do not agree, or a number is not finite.

    Examples
    --------
    >>> from ntk_fast import finite
    >>> flow = finite.KernelFlow([[2.0]], [1.0])
    >>> flow.outputs(0.5).round(4)  # 1 - exp(-1)
    array([0.6321])
    """

    def __init__(
        self,
        kernel: ArrayLike,
        y: ArrayLike,
        initial: ArrayLike | None = None,
        *,
        test_kernel: ArrayLike | None = None,
        initial_test: ArrayLike | None = None,
        n_threads: int | None = None,
    ) -> None:
        matrix = check_rows(kernel, "kernel", np.dtype(np.float64))
        n = len(matrix)
        if matrix.shape != (n, n):
            raise ValueError(f"kernel must be a square matrix; got shape {matrix.shape}.")
        refuse_not_finite(matrix, "kernel")
        size = float(np.abs(matrix).max(initial=0.0))
        if np.abs(matrix - matrix.T).max(initial=0.0) > ROUNDING * size:
            raise ValueError("kernel must be symmetric; its entries differ from their mirror images.")
        self.y = check_vector(y, "y", n)
        self.initial = np.zeros(n) if initial is None else check_vector(initial, "initial", n)
        vectors = np.array(matrix, dtype=np.float64, order="C")
        with limited_blas(n_threads):
            eigenvalues = lapack.eigh_in_place(vectors)
        least = float(eigenvalues.min(initial=0.0))
        if least < -ROUNDING * n * size:
            raise ValueError(f"kernel must be positive semi-definite; it has an eigenvalue of {least:.3g}.")
        self._eigenvalues = np.maximum(eigenvalues, 0.0)
        self._vectors = vectors.T
        self._residual = self._vectors.T @ (self.y - self.initial)
        self._test: Reals | None = None
        if test_kernel is None and initial_test is not None:
            raise ValueError("initial_test is for test rows, and needs a test_kernel.")
        if test_kernel is not None:
            test = check_rows(test_kernel, "test_kernel", np.dtype(np.float64))
            if test.shape[1] != n:
                raise ValueError(f"test_kernel must have {n} columns, one per training row; got shape {test.shape}.")
            refuse_not_finite(test, "test_kernel")
            m = len(test)
            self.initial_test = np.zeros(m) if initial_test is None else check_vector(initial_test, "initial_test", m)
            self._test = lapack.product(test.astype(np.float64, copy=False), self._vectors)

    def outputs(self, time: float, step_size: float | None = None) -> Reals:
        """Return f of the training rows.

        Parameters
        ----------
        time : float >= 0
            Infinity is the end of training.
        step_size : float > 0, optional
            None: gradient flow. Else gradient descent, and `time` is a number of steps times the step size.

        Returns
        -------
        ndarray of shape (n,)

        Raises
        ------
        ValueError
            If an argument is not as above, a time is no whole number of steps, or descent with them has no end.
        """
        return self.initial + self._vectors @ (self._eigenvalues * self._progress(time, step_size) * self._residual)

    def test_outputs(self, time: float, step_size: float | None = None) -> Reals:
        """Return f of the test rows, shape (m,); arguments as for :meth:`outputs`.

        Parameters
        ----------
        time, step_size
            As for :meth:`outputs`.

        Returns
        -------
        ndarray of shape (m,)

        Raises
        ------
        ValueError
            If there is no `test_kernel`.
        """
        if self._test is None:
            raise ValueError("test_outputs needs a test_kernel; KernelFlow was made without one.")
        return self.initial_test + self._test @ (self._progress(time, step_size) * self._residual)

    def _progress(self, time: float, step_size: float | None) -> Reals:
        """Return (1 - exp(-eigenvalue time)) / eigenvalue, or the same with (1 - step eigenvalue)^steps."""
        if not isinstance(time, (int, float, np.integer, np.floating)) or not time >= 0:
            raise ValueError(f"time must be a number >= 0; got {time!r}.")
        rates = self._eigenvalues
        largest = float(rates.max(initial=0.0))
        noise = len(rates) * np.finfo(np.float64).eps * largest
        step = None if step_size is None else check_positive(step_size, "step_size")
        if np.isinf(time):
            if step is not None and step * largest >= 2:
                raise ValueError(f"step_size must be below 2 / {largest:.3g}, or descent has no end; got {step!r}.")
            return np.divide(1.0, rates, where=rates > noise, out=np.zeros_like(rates))
        small = np.maximum(rates, np.finfo(np.float64).tiny)
        if step is None:
            return np.where(rates > 0, -np.expm1(-small * time) / small, time)
        n_steps = round(time / step)
        if abs(n_steps * step - time) > 1e-9 * time:
            raise ValueError(f"time must be a whole number of steps of {step!r}; got {time!r}.")
        factor = 1 - step * rates
        gentle = np.abs(step * rates) < 0.5
        logarithm = n_steps * np.log1p(-np.where(gentle, step * rates, 0.0))
        done = np.where(gentle, -np.expm1(logarithm), 1 - factor**n_steps)
        return np.where(rates > 0, done / small, n_steps * step)
