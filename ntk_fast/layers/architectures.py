"""Networks on images that papers use, as descriptions: their convolutional kernels are comparable with those tables."""

from __future__ import annotations

from typing import Any

from ntk_fast.layers.branches import Residual, Sum
from ntk_fast.layers.conv import Conv
from ntk_fast.layers.dense import Dense
from ntk_fast.layers.flatten import Flatten
from ntk_fast.layers.input import Input
from ntk_fast.layers.layer import Layer
from ntk_fast.layers.pool import AveragePool, GlobalAveragePool
from ntk_fast.layers.relu import Relu
from ntk_fast.layers.sequential import Sequential
from ntk_fast.layers.window import shown
from ntk_fast.validation import check_whole_number

#: Images of CIFAR-10.
CIFAR = (32, 32, 3)
#: Of each depth, how many convolutions precede each of the three pools.
MYRTLE_BLOCKS = {5: (2, 1, 1), 7: (2, 2, 2), 10: (3, 3, 3)}
POOLINGS = ("average", None)


def cntk(
    depth: int,
    shape: tuple[int, ...] = CIFAR,
    *,
    pooling: str | None = "average",
    filter_size: int = 3,
    weight_variance: float | str = "he",
    bias_variance: float = 0.0,
) -> Sequential:
    """Return a plain convolutional network, whose NTK is the CNTK of Arora et al. (2019).

    `depth` times a convolution with zeros around and ReLU, then a global average or none, and a Dense.

    Parameters
    ----------
    depth : int >= 1
        Number of convolutions. The paper counts the last layer, too: its depths 3, 4, 6, 11 and 21 are 2, 3, 5, 10
        and 20 here.
    shape : (height, width, channels), or (length, channels), default (32, 32, 3)
    pooling : {"average", None}, default "average"
        "average": over all positions before the last layer, the paper's CNTK-GAP. None: all positions side by side,
        CNTK-V, which takes only pairs of equal positions and is cheaper by their number.
    filter_size : int >= 1, default 3
        Along each dimension.
    weight_variance : float >= 0 or "he", default "he"
        Of all layers. "he": 2 after ReLU, as in the paper, 1 after anything else; without biases another number
        multiplies the kernel and changes nothing else.
    bias_variance : float >= 0, default 0.0
        Of all layers.

    Returns
    -------
    Sequential

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    References
    ----------
    S. Arora, S. S. Du, W. Hu, Z. Li, R. Salakhutdinov, R. Wang, *On Exact Computation with an Infinitely Wide Neural
    Net*, NeurIPS 2019, section 4.

    Examples
    --------
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> from ntk_fast import layers
    >>> network = layers.cntk(2, (8, 8, 1), pooling=None)
    >>> len(network.layers), network.layers[1]
    (7, Conv(filter_shape=3, weight_variance='he'))
    >>> images = np.random.default_rng(0).random((3, 8, 8, 1))
    >>> ntk.NTK(network=network)(images).shape
    (3, 3)
    """
    depth = check_whole_number(depth, "depth", 1)
    filter_size = check_whole_number(filter_size, "filter_size", 1)
    if pooling not in POOLINGS:
        raise ValueError(f"pooling must be 'average' or None; got {pooling!r}.")
    convolution = Conv(filter_size, weight_variance=weight_variance, bias_variance=bias_variance)
    end = Flatten() if pooling is None else GlobalAveragePool()
    return Sequential(_input(shape), *(convolution, Relu()) * depth, end, Dense(weight_variance, bias_variance))


def myrtle(
    depth: int,
    shape: tuple[int, ...] = CIFAR,
    *,
    weight_variance: float | str = "he",
    bias_variance: float = 0.0,
) -> Sequential:
    """Return a Myrtle network, of the kernels of Shankar et al. (2020).

    Three blocks of convolutions 3 x 3 with zeros around and ReLU, each with a pool 2 x 2 after it, an average over what
    positions are left, and a Dense. Pools make it cheaper than :func:`cntk` and, with its kernels on CIFAR-10, better.

    Parameters
    ----------
    depth : {5, 7, 10}
        Number of layers with weights, the last one included: 2 + 1 + 1, 2 + 2 + 2 or 3 + 3 + 3 convolutions.
    shape : (height, width, channels), or (length, channels), default (32, 32, 3)
        At least 8 positions along each dimension.
    weight_variance : float >= 0 or "he", default "he"
        Of all layers.
    bias_variance : float >= 0, default 0.0
        Of all layers.

    Returns
    -------
    Sequential

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    References
    ----------
    V. Shankar, A. Fang, W. Guo, S. Fridovich-Keil, L. Schmidt, J. Ragan-Kelley, B. Recht, *Neural Kernels Without
    Tangents*, ICML 2020, figure 1.

    Examples
    --------
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> from ntk_fast import layers
    >>> images = np.random.default_rng(0).random((3, 8, 8, 1))
    >>> ntk.NNGP(network=layers.myrtle(5, (8, 8, 1)))(images).shape
    (3, 3)
    """
    depth = check_whole_number(depth, "depth", 1)
    if depth not in MYRTLE_BLOCKS:
        raise ValueError(f"depth must be 5, 7 or 10; got {depth}.")
    first = _input(shape)
    if min(first.shape[:-1]) < 8:
        raise ValueError(f"shape must have at least 8 positions along each dimension; got {shown(first.shape[:-1])}.")
    convolution = Conv(3, weight_variance=weight_variance, bias_variance=bias_variance)
    blocks = [layer for n in MYRTLE_BLOCKS[depth] for layer in (*(convolution, Relu()) * n, AveragePool(2))]
    return Sequential(first, *blocks, GlobalAveragePool(), Dense(weight_variance, bias_variance))


def residual_cnn(
    block_size: int,
    shape: tuple[int, ...] = CIFAR,
    *,
    n_groups: int = 3,
    pooling: str | None = "average",
    weight_variance: float | str = 1.0,
    bias_variance: float = 0.0,
) -> Sequential:
    """Return a wide residual network (Zagoruyko & Komodakis 2016), as Novak et al. (2020) take its infinite limit.

    A convolution; groups of blocks x + f(x) with f twice ReLU and a convolution 3 x 3; a global average or none, and a
    Dense. Every group but the first halves the positions in its first block, where a convolution stands for x.

    Parameters
    ----------
    block_size : int >= 1
        Number of blocks in a group.
    shape : (height, width, channels), or (length, channels), default (32, 32, 3)
    n_groups : int >= 1, default 3
    pooling : {"average", None}, default "average"
        As for :func:`cntk`; None is ReLU and all positions side by side.
    weight_variance : float >= 0 or "he", default 1.0
        Of all layers. Every block adds what it makes: 1.0 lets variances grow by a quarter a block, "he" doubles them.
    bias_variance : float >= 0, default 0.0
        Of all layers.

    Returns
    -------
    Sequential

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    References
    ----------
    S. Zagoruyko, N. Komodakis, *Wide Residual Networks*, BMVC 2016. R. Novak et al., *Neural Tangents: Fast and Easy
    Infinite Neural Networks in Python*, ICLR 2020, listing 1.

    Examples
    --------
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> from ntk_fast import layers
    >>> images = np.random.default_rng(0).random((3, 8, 8, 1))
    >>> ntk.NTK(network=layers.residual_cnn(1, (8, 8, 1), n_groups=2))(images).shape
    (3, 3)
    """
    block_size = check_whole_number(block_size, "block_size", 1)
    n_groups = check_whole_number(n_groups, "n_groups", 1)
    if pooling not in POOLINGS:
        raise ValueError(f"pooling must be 'average' or None; got {pooling!r}.")

    def convolution(strides: int = 1) -> Layer:
        return Conv(3, strides, weight_variance=weight_variance, bias_variance=bias_variance)

    def branch(strides: int = 1) -> tuple[Layer, ...]:
        return Relu(), convolution(strides), Relu(), convolution()

    blocks: list[Layer] = []
    for strides in [1] + [2] * (n_groups - 1):
        blocks.append(Sum(convolution(strides), Sequential(*branch(strides))))
        blocks += [Residual(*branch())] * (block_size - 1)
    end = [Relu(), Flatten()] if pooling is None else [GlobalAveragePool()]
    return Sequential(_input(shape), convolution(), *blocks, *end, Dense(weight_variance, bias_variance))


def _input(shape: Any) -> Input:
    if not isinstance(shape, (tuple, list)):
        raise TypeError(f"shape must be (height, width, channels) or (length, channels); got {shape!r}.")
    return Input(*shape)
