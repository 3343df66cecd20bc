"""One line of a program's log: read, chosen and shown. The fields are those of docs/LOGS.md."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

LEVELS = ("debug", "info", "warning", "error", "critical")
MULTILINE = "exception"
STAMP = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?Z?")
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
KEPT_IN_TRACEBACKS = "\n"

Show = Callable[["Line"], str]


@dataclass(frozen=True)
class Line:
    """A line of the process `source`, such as gateway-0; `fields` is what its JSON says, empty for other lines.

    `time` sorts as text; empty where a line has none.
    """

    source: str
    text: str
    fields: Mapping[str, Any]
    time: str


@dataclass(frozen=True)
class Choice:
    """Which lines are wanted: all of what is named here must fit, and what is empty fits everything.

    `trace` and `request` are the beginnings of ids, `level` is the least.
    """

    trace: str = ""
    request: str = ""
    model: str = ""
    source: str = ""
    level: str = LEVELS[0]

    @property
    def searches(self) -> bool:
        """Whether lines are looked for that may be anywhere in the logs."""
        return bool(self.trace or self.request or self.model)

    def takes(self, line: Line) -> bool:
        """Tell whether a line is wanted."""
        fields = line.fields
        return (
            line.source.startswith(self.source)
            and _begins(fields, "trace_id", self.trace)
            and _begins(fields, "request_id", self.request)
            and (not self.model or fields.get("model") == self.model)
            and _rank(fields.get("level")) >= LEVELS.index(self.level)
        )


def read_line(source: str, text: str) -> Line:
    """Return a line of a log file, JSON or not."""
    fields = _fields(text)
    stamp = STAMP.match(text)
    at = _text(fields, "timestamp") or (stamp.group() if stamp else "")
    return Line(source, text, fields, at.replace(" ", "T").replace(",", "."))


def shown(*, coloured: bool, width: int) -> Show:
    """Return what turns a line into text for a terminal: its time, its process, then event and fields.

    Control characters are shown as escapes, so that what a client sent cannot move the cursor of who reads it.
    """
    renderer = structlog.dev.ConsoleRenderer(colors=coloured, pad_event_to=0, pad_level=False)

    def show(line: Line) -> str:
        fields = {CONTROLS.sub(_escape, key): _clean(key, value) for key, value in line.fields.items()}
        if not fields:
            return f"{line.source:<{width}} {CONTROLS.sub(_escape, line.text)}"
        for known in ("program", "slot", "member"):  # the process says the same
            fields.pop(known, None)
        return f"{line.source:<{width}} {renderer(None, '', fields)}"

    return show


def _fields(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name, "")
    return value if isinstance(value, str) else ""


def _begins(fields: Mapping[str, Any], name: str, wanted: str) -> bool:
    # The line of a batch lists those of its requests.
    if not wanted:
        return True
    several = fields.get(f"{name}s")
    ids = [fields.get(name), *(several if isinstance(several, list) else ())]
    return any(isinstance(each, str) and each.startswith(wanted) for each in ids)


def _rank(level: object) -> int:
    return LEVELS.index(level) if isinstance(level, str) and level in LEVELS else 1


def _clean(key: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    kept = KEPT_IN_TRACEBACKS if key == MULTILINE else ""
    return CONTROLS.sub(lambda found: found.group() if found.group() in kept else _escape(found), value)


def _escape(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode("ascii")
