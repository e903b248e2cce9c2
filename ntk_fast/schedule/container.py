"""What the control groups of a container, or of a batch system, leave this process: processors and memory.

A process is bound by its own group and by all groups around it. Version 2 keeps all limits of a group in one folder,
version 1 in one for each kind of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


def processors() -> float | None:
    """Return the processors' time that may be used a second, or None if there is no such limit."""
    quotas = []
    for folder in _folders("cpu"):
        quota, _, period = _read(folder / "cpu.max").partition(" ")  # version 2
        if not period:
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period):
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def free_bytes() -> int | None:
    """Return the memory that can be had, what the system would give back at once included; None without a limit."""
    free = []
    for folder in _folders("memory"):
        limit = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")
        used = _read(folder / "memory.current") or _read(folder / "memory.usage_in_bytes")
        if limit.isdecimal() and used.isdecimal():
            free.append(max(0, int(limit) - max(0, int(used) - _reclaimable(folder))))
    return min(free, default=None)


def _reclaimable(folder: Path) -> int:
    """Return the bytes of a group that are cached files, not counting those that live in memory only."""
    counts = dict(line.split(" ", 1) for line in _read(folder / "memory.stat").splitlines() if " " in line)
    prefix = "total_" if "total_inactive_file" in counts else ""  # version 1: groups inside this one included
    names = (prefix + "inactive_file", prefix + "active_file", "slab_reclaimable")
    return sum(int(counts.get(name, "0")) for name in names)


def _folders(kind: str) -> Iterator[Path]:
    """Yield the folders of the groups that bind this process, from its own to the outermost."""
    for line in _read(OWN_GROUPS).splitlines():
        _, _, rest = line.partition(":")
        kinds, _, path = rest.partition(":")
        if not kinds:
            tops = [ROOT, ROOT / "unified"]
        elif kind in kinds.split(","):
            tops = [ROOT / kind, ROOT / kinds]
        else:
            continue
        own = PurePosixPath(path.lstrip("/"))
        for top in tops:
            for group in (own, *own.parents):
                if ".." not in group.parts:  # a group outside of what this container sees
                    yield top / group


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""
