"""The options that name a kernel, and the kernel they name."""

from __future__ import annotations

import argparse

from ntk_fast.kernels import NNGP, NTK, ArcCosine, Kernel
from ntk_fast.layers.names import ACTIVATIONS
from ntk_fast.layers.relu import LeakyRelu

NETWORKS = {"ntk": NTK, "nngp": NNGP}


def add_kernel_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("kernel")
    group.add_argument("--kernel", choices=[*NETWORKS, "arccos"], default="ntk", help="default: ntk")
    group.add_argument("--depth", type=int, default=1, metavar="N", help="number of hidden layers, default 1")
    group.add_argument("--order", type=int, metavar="N", help="arccos only: 0, 1 or 2, default 1")
    group.add_argument("--activation", choices=ACTIVATIONS, help="ntk and nngp only; default: relu")
    group.add_argument("--slope", type=float, metavar="S", help="of leaky_relu where it is negative, default 0.01")
    numbers = "ntk and nngp only: one number, or depth + 1 of them, input layer first: 1,2,2"
    group.add_argument("--weight-variance", type=_variances, metavar="V", help=f"{numbers}; default 1")
    group.add_argument("--bias-variance", type=_variances, metavar="V", help="likewise; default 0")


def kernel_from(arguments: argparse.Namespace) -> Kernel:
    """Return the kernel that parsed arguments name; options that do not apply to it are refused."""
    for_networks = {
        "activation": arguments.activation,
        "weight_variance": arguments.weight_variance,
        "bias_variance": arguments.bias_variance,
    }
    given = {name: value for name, value in for_networks.items() if value is not None}
    if arguments.slope is not None:
        if arguments.activation != "leaky_relu":
            raise ValueError("--slope applies to --activation leaky_relu only.")
        given["activation"] = LeakyRelu(arguments.slope)
    if arguments.kernel == "arccos":
        if given:
            raise ValueError(f"--{next(iter(given)).replace('_', '-')} does not apply to --kernel arccos.")
        return ArcCosine(order=1 if arguments.order is None else arguments.order, depth=arguments.depth)
    if arguments.order is not None:
        raise ValueError("--order applies to --kernel arccos only.")
    return NETWORKS[arguments.kernel](depth=arguments.depth, **given)


def _variances(text: str) -> float | tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number or numbers with commas between; got {text!r}") from None
    return numbers if len(numbers) > 1 else numbers[0]
