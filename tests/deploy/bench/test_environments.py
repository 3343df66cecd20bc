"""The peers' environments."""

from __future__ import annotations

import re

import pytest

from deploy.bench.contenders import CONTENDERS
from deploy.bench.environments import PEERS, versions

NAMES = sorted({contender.peer for contender in CONTENDERS} - {""})


@pytest.mark.parametrize("peer", NAMES)
def test_every_package_is_pinned(peer: str) -> None:
    """The same run can be repeated next year."""
    lines = (PEERS / peer / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []
    assert {"numpy", "onnxruntime"} <= versions(peer).keys()
