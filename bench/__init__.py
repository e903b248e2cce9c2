"""Benchmarks: `python -m bench [GROUP ...]`, `--quick` for smaller sizes.

measure      times functions in turn, in one process; whole processes; peak memory
targets      what a target is, and the registry of all of them
engine, large, solvers, models, finite   the targets, by what they are about; `data`: real rows
test_gram    the grid for pytest-benchmark: kernels and engines of tests/registry.py, the reference, two rooflines
report       the table of targets, JSON and pictures, in bench/results/
"""
