"""Limits of control groups of both versions, in containers and in slices of a system."""

from __future__ import annotations

import numpy as np
import pytest

from ntk_fast.schedule import container, threads


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Write files of control groups; the first argument is /proc/self/cgroup."""
    monkeypatch.setattr(container, "ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(container, "OWN_GROUPS", tmp_path / "own")

    def write(own: str, files: dict[str, str]) -> None:
        (tmp_path / "own").write_text(own)
        for name, contents in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(contents)

    return write


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "50000 100000\n"}, 0.5),
        ("0::/a\n", {"a/cpu.max": "300000 100000\n", "cpu.max": "200000 100000\n"}, 2.0),
        ("3:cpu,cpuacct:/a\n", {"cpu/a/cpu.cfs_quota_us": "400000\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, 4.0),
        ("3:cpu,cpuacct:/\n", {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, None),
        ("0::/../elsewhere\n", {"cpu.max": "100000 100000\n"}, 1.0),
        ("", {}, None),
        ("nonsense\n", {"cpu.max": "nonsense"}, None),
    ],
)
def test_processors(groups, own, files, expected):
    groups(own, files)
    assert container.processors() == expected


def test_a_quota_bounds_the_number_of_threads(groups, monkeypatch, request):
    for variable in ("NTK_FAST_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(64)), raising=False)
    threads._quota.cache_clear()
    assert threads.choose_n_threads(None) == 64
    request.addfinalizer(threads._quota.cache_clear)
    for quota, expected in ((0.2, 1), (1.0, 1), (2.5, 3), (1000.0, 64)):
        groups("0::/\n", {"cpu.max": f"{round(quota * 100_000)} 100000"})
        threads._quota.cache_clear()
        assert threads.choose_n_threads(None) == expected


def test_cached_files_are_free_memory(groups):
    """As a fit in a container that has read a large file: nearly all that is in use can be had."""
    stat = "anon 1000\nfile 7000\nshmem 500\ninactive_file 4000\nactive_file 2500\nslab_reclaimable 100\n"
    groups("0::/\n", {"memory.max": "10000\n", "memory.current": "9000\n", "memory.stat": stat})
    assert container.free_bytes() == 10000 - (9000 - 4000 - 2500 - 100)


def test_memory_of_the_tightest_group_counts(groups):
    files = {"a/b/memory.max": "max", "a/b/memory.current": "10", "a/memory.max": "500", "a/memory.current": "600"}
    groups("0::/a/b\n", files)
    assert container.free_bytes() == 0


def test_memory_in_version_1(groups):
    generator = np.random.default_rng(0)
    for _ in range(20):
        limit, used, cached = sorted((10 ** generator.uniform(3, 12, 3)).astype(int), reverse=True)
        stat = f"inactive_file 1\ntotal_inactive_file {cached}\ntotal_active_file 0\n"
        prefix = "memory/docker/x/memory."
        files = {"limit_in_bytes": f"{limit}\n", "usage_in_bytes": f"{used}\n", "stat": stat}
        groups("4:memory:/docker/x\n", {prefix + name: contents for name, contents in files.items()})
        assert container.free_bytes() == limit - (used - cached)
