"""Archives that a runtime unpacks are measured first: a few kilobytes of zip can become all memory that there is."""

from __future__ import annotations

import copy
import io
import zipfile
import zlib
from pathlib import Path
from typing import IO

from inference_core.errors import ConfigurationError

CHUNK_BYTES = 1024 * 1024
MAGIC = b"PK\x03\x04"
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Python's module unpacks these piece by piece; of the others it unpacks all at once, however much that is."""

BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


class Refusal(Exception):
    """An archive is not to be unpacked."""


def check_archive(file: Path, most_bytes: int) -> None:
    """Raise ConfigurationError for a zip file that is not what it says, or would become more than that many bytes.

    So many bytes may all its entries have together, and those of zip files that are among them. What is no zip file at
    all is left to the runtime.
    """
    if not zipfile.is_zipfile(file):
        return
    try:
        with file.open("rb") as stream:
            _unpacked(stream, most_bytes, inner=True)
    except Refusal as error:
        raise ConfigurationError(f"Model file {file} is not unpacked: {error}") from error
    except BROKEN as error:
        raise ConfigurationError(f"Model file {file} cannot be loaded: {type(error).__name__}: {error}") from error


def _unpacked(stream: IO[bytes], most_bytes: int, *, inner: bool) -> int:
    with zipfile.ZipFile(stream) as archive:
        entries = archive.infolist()
        total = sum(max(entry.file_size, entry.compress_size) for entry in entries)
        _check_size(total, most_bytes)
        for entry in entries:
            _check_entry(archive, entry)
            if inner:
                total += _unpacked_within(archive, entry, most_bytes - total)
    return total


def _unpacked_within(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most_bytes: int) -> int:
    # A sparse matrix is a zip file of its own; deeper ones nobody opens.
    with archive.open(entry) as stream:
        if stream.read(len(MAGIC)) != MAGIC:
            return 0
    try:
        return _unpacked(io.BytesIO(archive.read(entry)), most_bytes, inner=False)
    except zipfile.BadZipFile:
        return 0  # it only began like one


def _check_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    if name.startswith("/") or "\\" in name or ".." in name.split("/"):
        raise Refusal(f"its entry {name[:64]!r} leads out of it.")
    if entry.compress_type not in METHODS:
        raise Refusal(f"its entry {name[:64]!r} is neither stored nor deflated; write it with one of the two.")
    if entry.compress_type == zipfile.ZIP_DEFLATED and _true_size(archive, entry) != entry.file_size:
        raise Refusal(f"its entry {name[:64]!r} has another size than it says.")


def _true_size(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> int:
    # Who reads an entry stops at the size that it says, but has unpacked what lies behind that by then.
    probe = copy.copy(entry)
    probe.file_size = entry.file_size + 1
    size = 0
    with archive.open(probe) as stream:
        while piece := stream.read(CHUNK_BYTES):
            size += len(piece)
    return size


def _check_size(size: int, most_bytes: int) -> None:
    if size > most_bytes:
        raise Refusal(f"it would become {size} bytes, and there is room for {most_bytes}.")
