"""Gram matrices larger than memory, on disk: written block by block, resumable at any moment, read in parts.

The map:

    write           write_gram: what is computed, in which blocks, and what happens when it is interrupted
    begun           what is on the disk already, and whether it may be gone on with
    read            read_gram: a part of a finished store
    blocks_to_disk  blocks computed, stored and marked as finished; `block_matrix`: the matrix that they are of
    row_blocks      rows that need not fit in memory, prepared for tiles a block at a time
    journal         which blocks are finished, and that nobody else is writing
    npy_store       a .npy file; `zarr_store`: a Zarr v3 array. Where blocks go
"""

from ntk_fast.out_of_core.read import read_gram
from ntk_fast.out_of_core.write import write_gram

__all__ = ["read_gram", "write_gram"]
