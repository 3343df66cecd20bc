"""Virtual environments for programs whose packages must not meet ours, made once in the cache from pinned lists."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

from inference_core.errors import ConfigurationError

COMPLETE = "complete"
MINUTES = 20


def cache_folder(purpose: str) -> Path:
    """Return the folder, outside the checkout, that holds what is kept between runs for a purpose."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "inference-hub" / purpose


def environment_from(pins: Path, name: str, cache: Path, say: Callable[[str], None]) -> Path:
    """Return the Python of an environment with these pins, after making it where there is none.

    Raises ConfigurationError with pip's last words where a package cannot be installed.
    """
    key = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = cache / f"{name}-{key}"
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (cache / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / COMPLETE).exists():
            say(f"Installing {name} into {folder} (once, up to a few minutes) ...")
            _install(folder, pins)
            (folder / COMPLETE).touch()
    return folder / "bin" / "python"


def _install(folder: Path, pins: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    done = subprocess.run(  # noqa: S603  # pip with our own file
        [*pip, "--no-deps", "-r", str(pins)], capture_output=True, text=True, check=False, timeout=60 * MINUTES
    )
    if done.returncode:
        raise ConfigurationError(f"{pins} cannot be installed:\n{(done.stderr or done.stdout).strip()[-1000:]}")
