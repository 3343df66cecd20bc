"""Where tests find Jaeger, grpcurl and promtool: built by deploy/tools/install, or any on PATH; and Debian packages."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

INSTALL = Path(__file__).parent.parent / "deploy" / "tools" / "install"


def tool(name: str) -> Path:
    """Return the path of an external tool.

    A test that needs a missing one is skipped, with the command that installs it; where CI is set it fails instead,
    so that the machine that decides never leaves such a test out.
    """
    built = subprocess.run([INSTALL, "--where"], capture_output=True, text=True, check=True).stdout.strip()
    found = shutil.which(name, path=built) or shutil.which(name)
    if found is not None:
        return Path(found)
    return missing(f"{name} is neither in {built} nor on PATH: deploy/tools/install {name} builds it")


def chromium() -> Path:
    """Return the path of Debian's browser; where it is missing, as `tool` does."""
    return packaged("chromium")


def packaged(name: str) -> Path:
    """Return the path of a program of the Debian package of the same name; where it is missing, as `tool` does."""
    found = shutil.which(name)
    return Path(found) if found is not None else missing(f"{name} is not on PATH: apt-get install {name}")


def missing(reason: str) -> NoReturn:
    """Skip a test for what this machine does not have, or fail where CI is set."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
