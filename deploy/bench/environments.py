"""A virtual environment for each peer, made once in the user's cache from the peer's pinned requirements."""

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

PEERS = Path(__file__).with_name("peers")
COMPLETE = "complete"
MINUTES = 20


def cache_folder() -> Path:
    """Return the folder, outside the checkout, that holds what a benchmark keeps between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "inference-hub" / "bench"


def environment_of(peer: str, say: Callable[[str], None]) -> Path:
    """Return the Python of that peer's environment, after making it where there is none with these pins.

    Raises ConfigurationError with pip's last words where a package cannot be installed.
    """
    pins = PEERS / peer / "requirements.txt"
    key = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = cache_folder() / f"{peer}-{key}"
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / COMPLETE).exists():
            say(f"Installing {peer} into {folder} (once, up to a few minutes) ...")
            _install(folder, pins)
            (folder / COMPLETE).touch()
    return folder / "bin" / "python"


def versions(peer: str) -> dict[str, str]:
    """Return the pinned version of each package of that peer."""
    lines = (PEERS / peer / "requirements.txt").read_text().splitlines()
    return {name: version for name, _, version in (line.partition("==") for line in lines) if version}


def _install(folder: Path, pins: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    done = subprocess.run(  # noqa: S603  # pip with our own file
        [*pip, "--no-deps", "-r", str(pins)], capture_output=True, text=True, check=False, timeout=60 * MINUTES
    )
    if done.returncode:
        raise ConfigurationError(
            f"{pins} cannot be installed:\n{(done.stderr or done.stdout).strip()[-1000:]}\n"
            "Look at the network or the package index, then try again; --peers leaves this peer out."
        )
