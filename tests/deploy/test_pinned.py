"""Environments from pinned lists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy.pinned import environment_from
from inference_core.errors import ConfigurationError
from inference_core.settings import CHECKOUT

LISTS = [CHECKOUT / "deploy" / "fuzz", CHECKOUT / "tests" / "e2e" / "conformance"]


@pytest.mark.parametrize("folder", LISTS, ids=lambda folder: folder.name)
def test_every_package_is_pinned(folder: Path) -> None:
    """The same run can be repeated next year."""
    lines = (folder / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []
    assert lines


def test_an_environment_is_made_once(tmp_path: Path) -> None:
    """It is there the second time, and one with other pins is another one."""
    pins, said = tmp_path / "requirements.txt", list[str]()
    pins.write_text("")
    first = environment_from(pins, "empty", tmp_path / "cache", said.append)
    assert environment_from(pins, "empty", tmp_path / "cache", said.append) == first
    assert (len(said), first.exists()) == (1, True)


def test_what_cannot_be_installed_is_said(tmp_path: Path) -> None:
    """With the list and pip's own words."""
    pins = tmp_path / "requirements.txt"
    pins.write_text("./nothing-here\n")
    with pytest.raises(ConfigurationError, match=r"requirements.txt cannot be installed"):
        environment_from(pins, "broken", tmp_path / "cache", lambda _: None)
