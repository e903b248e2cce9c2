"""How things are timed: in turn, several times, best and median of each; or as whole processes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


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


def in_turn(functions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Timing]:
    """Time functions alternately, A B C A B C ..., after one warm-up each: what slows the machine slows them all."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return {name: Timing(tuple(times)) for name, times in seconds.items()}


def process(code: str) -> None:
    """Run a Python program as a process of its own."""
    subprocess.run([sys.executable, "-c", code], check=True)


def peak_memory(setup: str, call: str) -> float:
    """Return the bytes by which a call raises a process's peak memory above what its setup left resident."""
    code = f"""
import json, resource
{setup}
with open("/proc/self/clear_refs", "w") as reset:
    reset.write("5")  # the high-water mark starts anew
def status(key):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key)) * 1024
before = status("VmRSS:")
{call}
print(json.dumps(status("VmHWM:") - before))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout))
