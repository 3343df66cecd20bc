"""What may lie in a model repository: names that are safe, regular files and folders, links that stay inside."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
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


def anyone_may_write(folder: Path) -> bool:
    """Tell whether every user of the machine may write to a folder, and with that run code in the workers."""
    return bool(folder.stat().st_mode & stat.S_IWOTH)


def _walk(folder: Path) -> Iterator[Path]:
    # A linked folder is checked as one path: what it leads to lies inside the repository or is refused.
    yield folder
    for place, folders, files in os.walk(folder):
        yield from (Path(place, name) for name in (*folders, *files))
