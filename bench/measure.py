"""How things are timed: in turn, several times, best and median of each; or as whole processes. And peak memory."""

from __future__ import annotations

import json
import multiprocessing
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

#: OpenBLAS's threads go on spinning for up to 0.1 s after a product, and take a core from whatever is timed next: a
#: training step of 80 ms took 114 ms right after the same step's products.
PAUSE = 0.15


@dataclass(frozen=True)
class Timing:
    """Seconds of several runs of one thing."""

    seconds: tuple[float, ...]

    @property
    def best(self) -> float:
        return min(self.seconds)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def in_turn(functions: Mapping[str, Callable[[], object]], rounds: int, pause: float = PAUSE) -> dict[str, Timing]:
    """Time functions alternately, A B C A B C ..., after one warm-up each: what slows the machine slows them all."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(rounds):
        for name, function in functions.items():
            time.sleep(pause)
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return {name: Timing(tuple(times)) for name, times in seconds.items()}


def process(code: str) -> str:
    """Run a Python program as a process of its own, and return what it prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a module's function in a process that has done nothing else: its memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def status(key: str) -> int:
    """Return a memory figure of this process, in bytes: VmRSS, or VmHWM, the most that was ever resident."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) * 1024


def peak_memory(setup: str, call: str) -> float:
    """Return the bytes by which a call raises a process's peak memory above what its setup left resident."""
    code = f"""
import json
from bench.measure import status
{setup}
with open("/proc/self/clear_refs", "w") as reset:
    reset.write("5")  # the high-water mark starts anew
before = status("VmRSS")
{call}
print(json.dumps(status("VmHWM") - before))
"""
    return float(json.loads(process(code)))
