"""A virtual environment for each peer, made once in the user's cache from the peer's pinned requirements."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deploy import pinned
from inference_core.errors import ConfigurationError

PEERS = Path(__file__).with_name("peers")


def cache_folder() -> Path:
    """Return the folder, outside the checkout, that holds what a benchmark keeps between runs."""
    return pinned.cache_folder("bench")


def environment_of(peer: str, say: Callable[[str], None]) -> Path:
    """Return the Python of that peer's environment, after making it where there is none with these pins.

    Raises ConfigurationError with pip's last words where a package cannot be installed.
    """
    try:
        return pinned.environment_from(PEERS / peer / "requirements.txt", peer, cache_folder(), say)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{error.message}\nLook at the network or the package index, then try again; --peers leaves this peer out."
        ) from error


def versions(peer: str) -> dict[str, str]:
    """Return the pinned version of each package of that peer."""
    lines = (PEERS / peer / "requirements.txt").read_text().splitlines()
    return {name: version for name, _, version in (line.partition("==") for line in lines) if version}
