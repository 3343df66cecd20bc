"""Log lines as a collector reads them: strictly."""

from __future__ import annotations

import json
from typing import Any

PIPE_BUF = 4096


def parsed(line: str) -> dict[str, Any]:
    """Return the object of one line, after checking the line itself."""
    assert line.isascii()
    assert line.isprintable()
    assert len(line) + 1 <= PIPE_BUF
    document = json.loads(line, parse_constant=_refuse_constant)
    assert isinstance(document, dict)
    return document


def _refuse_constant(name: str) -> None:
    """Refuse NaN and the infinities, which RFC 8259 does not know."""
    raise ValueError(name)
