"""What is on the disk already where a store is to be written, and whether it may be gone on with."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

from ntk_fast.layers.json_text import from_record
from ntk_fast.out_of_core.journal import Journal, stamp_of
from ntk_fast.out_of_core.store import Store
from ntk_fast.schedule.tiling import Tile


def partial_name(path: Path) -> Path:
    """Return what a store is called until it is finished."""
    return path.with_name(path.name + ".partial")


def journal_name(path: Path) -> Path:
    """Return what its journal is called."""
    return path.with_name(path.name + ".journal")


def discard_unfinished(path: Path) -> None:
    """Remove an unfinished store, if it is one of ours, and its journal; raise if another process is writing it."""
    partial = partial_name(path)
    with closing(Journal(journal_name(path), path)) as journal:
        if journal.owns(partial):
            if partial.is_dir():
                shutil.rmtree(partial)
            else:
                partial.unlink(missing_ok=True)
        if not journal.stamp:
            journal.remove()


def find_begun(path: Path, store: Store, journal: Journal, resume: bool, overwrite: bool) -> bool:
    """Return whether there is a store with a journal; raise if what there is must not be touched, or cannot be told."""
    store.refuse_to_replace(path)
    has_partial, has_journal = os.path.lexists(store.path), journal.identity is not None
    if has_partial and not journal.owns(store.path):
        raise FileExistsError(
            f"{store.path} exists and has no journal that says it is ours; remove it, or write to another place."
        )
    if has_partial and not (resume or overwrite):
        raise FileExistsError(
            f"{path} was begun and not finished; pass resume=True to go on, or overwrite=True to begin anew."
        )
    if path.exists() and not overwrite:
        if not resume or has_partial or (has_journal and not journal.stamp):
            raise FileExistsError(f"{path} exists already; pass overwrite=True to replace it.")
        if not has_journal:
            raise FileExistsError(
                f"{path} exists, and no journal beside it says what it is; pass overwrite=True to replace it."
            )
    return has_journal and (has_partial or (path.exists() and bool(journal.stamp)))


def has_its_name(path: Path, store: Store, journal: Journal, overwrite: bool) -> bool:
    """Return whether the journal's store is finished, and still what is at its path."""
    if store.path.exists() or not path.exists():
        return False
    if journal.stamp != stamp_of(path):
        if overwrite:
            return False
        raise ValueError(
            f"{path} has changed since it was finished; pass overwrite=True to write it again, or remove its journal."
        )
    return True


def lost_blocks(place: Path, store: Store, journal: Journal, tiles: list[Tile]) -> list[int]:
    """Return the finished blocks that are not whole any more."""
    return [
        block
        for block, tile in enumerate(tiles)
        if journal.finished[block] and store.is_lost(place, tile, journal.sizes)
    ]


def _shown(name: str, part: Any) -> str:
    """A part of an identity in words."""
    return repr(from_record(part) if name == "network" and isinstance(part, dict) else part)


def is_same(path: Path, journal: Journal, identity: dict[str, Any], overwrite: bool) -> bool:
    """Return whether a store is of the same matrix, layout, engine and version."""
    begun = journal.identity
    assert begun is not None
    for name, value in identity.items():
        if begun.get(name) != value:
            if overwrite:
                return False
            before, now = (_shown(name, part) for part in (begun.get(name), value))
            change = "other rows" if name == "rows" else f"{name} {before}, and now it is {now}"
            was = "was written" if journal.stamp else "was begun"
            raise ValueError(f"{path} {was} with {change}; pass overwrite=True to begin anew.")
    return True
