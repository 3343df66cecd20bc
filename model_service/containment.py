"""What may lie in a model repository: names that are safe, regular files and folders, links that stay inside."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from pathlib import Path

from inference_core.errors import ConfigurationError
from inference_core.names import is_model_name


def check_name(kind: str, folder: Path) -> None:
    """Raise ConfigurationError where a folder's name is none for a model or version."""
    if not is_model_name(folder.name):
        raise ConfigurationError(
            f"{kind} folder {str(folder)!r}: a name has up to 128 ASCII letters, digits, '.', '_' and '-', "
            "starts with a letter or digit and holds no '..'."
        )


def check_contained(folder: Path, root: Path) -> None:
    """Raise ConfigurationError for a link that leaves root or leads nowhere, and for a device, pipe or socket.

    `root` is resolved. What a link leads to must lie in the same repository.
    """
    for path in _walk(folder):
        try:
            mode = path.lstat().st_mode
            target = path.resolve(strict=True) if stat.S_ISLNK(mode) or path == folder else path
        except (OSError, RuntimeError) as error:
            raise ConfigurationError(f"{path} is a symbolic link that leads nowhere.") from error
        if target is not path and not target.is_relative_to(root):
            raise ConfigurationError(f"{path} is a symbolic link that leaves the model repository {root}.")
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
            raise ConfigurationError(f"{path} is not a regular file.")


def unguarded(root: Path, folders: Iterable[Path]) -> str:
    """Return a sentence on the first place in a repository that others than this user and root may change, or "".

    Looks at the repository's folder itself and at everything in `folders`.
    """
    for path in chain([root], *map(_walk, folders)):
        with suppress(OSError):
            advice = _advice(path.stat())
            if advice:
                return f"{advice[0]} may change {path} and run code in the workers with that: {advice[1]} {root}"
    return ""


def _advice(status: os.stat_result) -> tuple[str, str] | None:
    if status.st_mode & stat.S_IWOTH:
        return "Every user", "chmod -R o-w"
    if status.st_mode & stat.S_IWGRP and not _is_private(status.st_gid):
        return f"Group {status.st_gid}", "chmod -R g-w"
    if status.st_uid not in {0, os.geteuid()}:
        return f"User {status.st_uid}", f"chown -R {os.geteuid()}"
    return None


@lru_cache(maxsize=64)
def _is_private(group: int) -> bool:
    # Debian gives each user a group of the same name, in which nobody else is.
    try:
        found = grp.getgrgid(group)
        return found.gr_name == pwd.getpwuid(os.geteuid()).pw_name and not found.gr_mem
    except KeyError:
        return False


def _walk(folder: Path) -> Iterator[Path]:
    # A linked folder is checked as one path: what it leads to lies inside the repository or is refused.
    yield folder
    for place, folders, files in os.walk(folder):
        yield from (Path(place, name) for name in (*folders, *files))
