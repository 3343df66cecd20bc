"""The file of all traffic rules: every gateway process follows it, any of them may change it, and it survives restarts.

A change is a new file under the old name (rename(2) is atomic), made while an flock is held on a file beside it; so
nobody reads half a rule, and of two changes at once neither is lost. A file that cannot be read leaves the rules as
they were, and the log says why.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import structlog

from gateway.routing import Rule, check
from inference_core.errors import InferenceHubError, InputTooLarge

FILE = "traffic.json"
PRIVATE = 0o600
MOST_EVENTS = 200
LARGEST_BYTES = 4 * 1024 * 1024
NO_STAMP = (0, 0, 0)
UNREADABLE = "traffic rules cannot be read, the last good ones stay"
BROKEN = "broken traffic rules are kept aside"

Stamp = tuple[int, int, int]
log = structlog.get_logger()


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """A change of a model's rule: when (RFC 3339), who, what (changed, deleted, rolled back), and why."""

    at: str
    who: str
    model: str
    what: str
    arm: str = ""
    version: str = ""
    why: str = ""


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file: a rule for each model that has one, and the newest changes, the last one last."""

    rules: dict[str, Rule] = {}
    events: list[Event] = []

    def with_rule(self, event: Event, rule: Rule | None) -> Document:
        """Return the document after a change of the event's model; None takes its rule away."""
        rules = {name: kept for name, kept in self.rules.items() if name != event.model}
        if rule is not None:
            rules[event.model] = rule
        return Document(rules, [*self.events, event][-MOST_EVENTS:])


Change = Callable[[Document], Document | None]


class TrafficFile:
    """One process's view of the file. `poll` and `document` belong to the event loop, `update` to a thread."""

    def __init__(self, folder: Path, who: str) -> None:
        self.path = folder / FILE
        self.who = who
        self.document = Document()
        self._stamp = NO_STAMP

    def event(self, model: str, what: str, *, arm: str = "", version: str = "", why: str = "") -> Event:
        """Return what happens now, by this process."""
        return Event(datetime.now(UTC).isoformat(timespec="milliseconds"), self.who, model, what, arm, version, why)

    def poll(self) -> bool:
        """Read the file where it has changed; return whether there is a new document."""
        stamp = _stamp(self.path)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            document = _read(self.path)
        except (OSError, ValueError, InferenceHubError) as error:
            log.error(UNREADABLE, file=str(self.path), reason=str(error))  # noqa: TRY400  # the reason says it all
            return False
        changed, self.document = document != self.document, document
        return changed

    def update(self, change: Change) -> Document | None:
        """Change the newest document and return the new one, None where `change` finds nothing to do; blocks.

        A file that cannot be read is kept beside the new one, which then begins with what this process knows.
        Raises InputTooLarge for rules that the file has no room for, and leaves the file as it was.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(self.path.with_suffix(".lock")):
            document = change(self._newest())
            if document is not None:
                _replace(self.path, _encoded(document))
        return document

    def _newest(self) -> Document:
        try:
            return _read(self.path)
        except (OSError, ValueError, InferenceHubError) as error:
            aside = self.path.with_suffix(f".broken-{time.time_ns()}")
            log.error(BROKEN, file=str(self.path), aside=str(aside), reason=str(error))  # noqa: TRY400  # as above
            self.path.rename(aside)
            return self.document


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError:
        return NO_STAMP
    return status.st_mtime_ns, status.st_ino, status.st_size


def _read(path: Path) -> Document:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except FileNotFoundError:
        return Document()
    if len(data) > LARGEST_BYTES:
        raise ValueError(f"it is larger than {LARGEST_BYTES} bytes")
    return _decoded(data)


def _decoded(data: bytes) -> Document:
    document = msgspec.json.decode(data, type=Document)  # its errors are ValueErrors
    for rule in document.rules.values():
        check(rule)
    return document


def _encoded(document: Document) -> bytes:
    data = msgspec.json.format(msgspec.json.encode(document)) + b"\n"
    if len(data) > LARGEST_BYTES:
        raise InputTooLarge(
            f"The rules of all models together have at most {LARGEST_BYTES} bytes; delete rules or labels first."
        )
    _decoded(data)  # before it replaces what everybody can read
    return data


def _replace(path: Path, data: bytes) -> None:
    new = path.with_suffix(".new")
    with open(new, "wb", opener=_private) as file:  # Path.open takes no opener
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, PRIVATE)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "ab", opener=_private) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
