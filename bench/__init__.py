"""Benchmarks: `python -m bench` (15 minutes), `python -m bench --quick` (2 minutes).

measure      times functions in turn, in one process; whole processes; peak memory
targets      the ratios that the project promises, each measured by a case of its own
test_gram    the grid for pytest-benchmark: kernels and engines of tests/registry.py, the reference, two rooflines
report       the table of ratios, JSON and pictures, in bench/results/
"""
