"""Rows, from what a caller passes to what tiles take.

The map:

    frames          data frames of pandas, polars and pyarrow as arrays
    stored          rows by the path of their file
    sklearn_check   scikit-learn's check of rows and targets, for estimators
    preparing       checked rows measured, and made ready for a kernel's program
    prepared        what comes of it: the numbers, and per row what the mathematics needs besides

What an array of rows must be is checked in `ntk_fast.validation`.
"""
