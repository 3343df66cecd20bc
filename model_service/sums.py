"""SHA256SUMS in a version's folder, as sha256sum(1) writes it: what the files must be before a runtime reads them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from inference_core.errors import ConfigurationError
from model_service.contents import files_of, is_counted

FILE = "SHA256SUMS"
LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](?:\./)?(.+)")
MOST_NAMED = 3


def check_sums(folder: Path) -> bool:
    """Tell whether a version's folder has a list of its files; raises ConfigurationError where they are others.

    Reads everything, so never on an event loop.
    """
    sums = folder / FILE
    if not os.path.lexists(sums):
        return False
    listed = _listed(sums)
    there = {file.relative_to(folder).as_posix(): file for file in files_of(folder) if file != sums}
    _refuse(sums, "lists files that are not there", listed.keys() - there)
    _refuse(sums, "does not list files that are there", there.keys() - listed)
    _refuse(sums, "has other digests than these files", [name for name in listed if _sum(there[name]) != listed[name]])
    return True


def _listed(sums: Path) -> Mapping[str, str]:
    try:
        lines = sums.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError as error:
        raise ConfigurationError(f"{sums} cannot be read: {error.strerror}.") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = LINE.fullmatch(line)
        if match is None:
            raise ConfigurationError(f"{sums}:{number}: this is no line of sha256sum(1): a digest, two spaces, a name.")
        if all(map(is_counted, match[2].split("/"))):
            found[match[2]] = match[1].lower()
    return found


def _sum(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _refuse(sums: Path, what: str, names: Iterable[str]) -> None:
    guilty = sorted(names)
    if guilty:
        more = f" and {len(guilty) - MOST_NAMED} more" if len(guilty) > MOST_NAMED else ""
        raise ConfigurationError(
            f"{sums} {what}: {', '.join(guilty[:MOST_NAMED])}{more}. Copy the version again, or write the list anew."
        )
