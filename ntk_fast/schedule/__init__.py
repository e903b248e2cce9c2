"""Who computes when, and with how much of the machine: no mathematics.

The map:

    tiling      tiles of a matrix, and threads that take them one by one: progress, interrupts, the first error
    in_order    what threads have in any order, taken in the order of its numbers
    threads     how many threads there are to use, and BLAS held to as many; `forks`: a process forked meanwhile
    memory      how much memory is free, asked before a result is allocated
    container   what a container or a batch system leaves of both
"""
