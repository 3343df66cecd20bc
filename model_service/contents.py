"""What a version's files are: cheaply, to see that something changed, and by content, to see that it is something else.

Python's own caches and hidden files do not count.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

Stamp = tuple[tuple[str, int, int, int], ...]
"""Path, size, time of change in nanoseconds and inode of each file."""

CHUNK_BYTES = 1024 * 1024


def stamp_of(places: Iterable[Path]) -> Stamp:
    """Return the stamp of files and of the files in folders; raises OSError for one that vanishes meanwhile."""
    return tuple(
        (str(file), status.st_size, status.st_mtime_ns, status.st_ino)
        for place in places
        for file in files_of(place)
        for status in (file.stat(),)
    )


def digest_of(places: Iterable[Path]) -> str:
    """Return a digest of names and contents; reads everything, so never on an event loop."""
    digest = hashlib.blake2b(digest_size=16)
    for place in places:
        for file in files_of(place):
            digest.update(f"{file.relative_to(place.parent)}\0{file.stat().st_size}\0".encode())
            _add(digest, file)
    return digest.hexdigest()


def bytes_of(folder: Path) -> int:
    """Return how many bytes a folder's files have."""
    return sum(file.stat().st_size for file in files_of(folder))


def files_of(place: Path) -> Iterator[Path]:
    """Yield a file itself, or a folder's files in order, following the links that containment allows."""
    if not place.is_dir():
        yield place
        return
    for folder, folders, files in os.walk(place, followlinks=False):
        folders[:] = sorted(name for name in folders if is_counted(name))
        yield from (Path(folder, name) for name in sorted(files) if is_counted(name))


def is_counted(name: str) -> bool:
    """Tell whether a file or folder of that name is part of a version."""
    return name != "__pycache__" and not name.startswith(".")


def _add(digest: hashlib.blake2b, file: Path) -> None:
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
