"""Beyond one machine: blocks on the workers of a Dask cluster. Nothing here is imported unless `client=` is used.

The map:

    workers     which there are, and whether they may take part: asked before any work
    home        what a matrix is built from, sent to each worker once; `shared`: what belongs to one product
    on_worker   what a worker does: it builds a matrix once, and computes blocks of it
    run         blocks handed out a few at a time, until each is done, whoever dies on the way
    remote      these together: a matrix that workers have, and operations on its blocks
    rows        an array that is sent, a file that workers open, a dask.array that is there
    writing     write_gram's blocks; `products`: factors of products; `streamed`: what Nystroem sums

The client keeps all that must not be lost: the journal, and sums that are added in the order of the blocks.
"""

from ntk_fast.cluster.workers import check_client

__all__ = ["check_client"]
