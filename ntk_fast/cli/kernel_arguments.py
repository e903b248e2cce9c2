"""The options that name a kernel, and the kernel they name."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from ntk_fast.kernels import HE, LARGEST_DEPTH, NNGP, NTK, ArcCosine, Kernel
from ntk_fast.layers.json_text import from_json
from ntk_fast.layers.layer import Layer
from ntk_fast.layers.names import ACTIVATIONS
from ntk_fast.layers.relu import LeakyRelu

NETWORKS = {"ntk": NTK, "nngp": NNGP}


def add_kernel_arguments(parser: argparse.ArgumentParser, default: str = "ntk of depth 1") -> None:
    """Add the options; `default` says what is taken if none of them is given."""
    group = parser.add_argument_group("kernel", f"default: {default}")
    group.add_argument("--kernel", choices=[*NETWORKS, "arccos"], help="default: ntk")
    group.add_argument("--depth", type=_depth, metavar="N", help=f"number of hidden layers, 1 to {LARGEST_DEPTH}")
    group.add_argument(
        "--network",
        metavar="FILE",
        help="JSON of ntk_fast.layers.to_json: any network, instead of --depth and the rest",
    )
    group.add_argument("--order", type=int, metavar="N", help="arccos only: 0, 1 or 2, default 1")
    group.add_argument("--activation", choices=ACTIVATIONS, help="ntk and nngp only; default: relu")
    group.add_argument("--slope", type=float, metavar="S", help="of leaky_relu where it is negative, default 0.01")
    numbers = "ntk and nngp only: one number, or depth + 1 of them, input layer first: 1,2,2"
    group.add_argument("--weight-variance", type=_weights, metavar="V", help=f"{numbers}; or he: 1,2,2,... for relu")
    group.add_argument("--bias-variance", type=_variances, metavar="V", help="numbers likewise")


def kernel_from(arguments: argparse.Namespace, default: Kernel = NTK()) -> Kernel:  # noqa: B008  immutable
    """Return the kernel that parsed arguments name; options that do not apply to it are refused.

    Without --kernel they change the default, one by one.
    """
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
    depth = {} if arguments.depth is None else {"depth": arguments.depth}
    if arguments.network is not None:
        for name in (*depth, *given, *(["order"] if arguments.order is not None else [])):
            raise ValueError(f"--{name.replace('_', '-')} does not apply with --network, which says it all.")
        if arguments.kernel == "arccos":
            raise ValueError("--network applies to --kernel ntk and nngp only.")
        return NETWORKS[arguments.kernel or "ntk"](network=_network(arguments.network))
    if arguments.kernel == "arccos":
        if given:
            raise ValueError(f"--{next(iter(given)).replace('_', '-')} does not apply to --kernel arccos.")
        return ArcCosine(order=1 if arguments.order is None else arguments.order, **depth)
    if arguments.order is not None:
        raise ValueError("--order applies to --kernel arccos only.")
    if arguments.kernel is None:
        return default.with_parameters(**depth, **given)
    return NETWORKS[arguments.kernel](**depth, **given)


def _network(path: str) -> Layer:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"--network: {path} is not a text file.") from None
    try:
        return from_json(text)
    except ValueError as error:
        raise ValueError(f"--network: {path}: {error}") from None


def _depth(text: str) -> int:
    number = int(text) if re.fullmatch(r"\+?\d{1,9}", text) else 0
    if not 1 <= number <= LARGEST_DEPTH:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {LARGEST_DEPTH}; got {text!r}")
    return number


def _weights(text: str) -> float | tuple[float, ...] | str:
    return HE if text == HE else _variances(text)


def _variances(text: str) -> float | tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number or numbers with commas between; got {text!r}") from None
    return numbers if len(numbers) > 1 else numbers[0]
