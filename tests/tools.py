"""Where tests find Jaeger, grpcurl and promtool: built by deploy/tools/install, or any that is on PATH."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

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
    reason = f"{name} is neither in {built} nor on PATH: deploy/tools/install {name} builds it"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
