"""The machine that a figure was measured on: a figure without it says nothing."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil

from inference_core.settings import CHECKOUT


class Machine(msgspec.Struct, frozen=True):
    """Facts of the host; `memory` is in GiB, `cores` are those this process may use."""

    cores: int
    processor: str
    memory: float
    kernel: str
    system: str
    python: str
    wrk: str


def describe() -> Machine:
    """Look at this machine."""
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        processor=_field("/proc/cpuinfo", "model name", ":"),
        memory=round(psutil.virtual_memory().total / 2**30, 1),
        kernel=platform.release(),
        system=_field("/etc/os-release", "PRETTY_NAME", "=").strip('"'),
        python=platform.python_version(),
        wrk=_wrk_version(),
    )


def revision() -> str:
    """Return the commit of this checkout, with "+" when files differ from it, or "unknown" without git."""
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        return commit + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    command: Callable[..., str] = subprocess.check_output
    return command(["git", *arguments], cwd=CHECKOUT, text=True, stderr=subprocess.DEVNULL).strip()


def _field(file: str, name: str, separator: str) -> str:
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    return next((line.partition(separator)[2].strip() for line in lines if line.startswith(name)), "unknown")


def _wrk_version() -> str:
    said = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout  # noqa: S607  # from PATH
    words = said.split()
    return words[1] if len(words) > 1 else "unknown"
