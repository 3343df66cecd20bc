"""Where in a TOML file a key stands, and what its author may have meant: tomllib keeps no lines of what it has read."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator

Place = tuple[str | int, ...]
"""The way to a key: names of tables and keys, and numbers in arrays, from the outside in."""

STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
HEADER = re.compile(r"^\s*\[+\s*([^\]]+?)\s*\]+")
FIRST_LINE = 1


class Refusal(ValueError):
    """Something at a place in the file cannot stay as it is."""

    def __init__(self, place: Place, sentence: str) -> None:
        super().__init__(sentence)
        self.place = place


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint for a name that does not exist: the nearest one that does, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known) or 'none'}."


def refuse_unknown(kind: str, place: Place, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise Refusal for the first name that is not known, with the nearest one that is.

    A place that ends in a key is that of its value, any other that of the table in which the names are keys.
    """
    known = list(known)
    for name in given:
        if name not in known:
            is_value = len(place) > 1 and isinstance(place[-1], str)
            path = f"{written(place)} = {name}" if is_value else written((*place, name))
            sentence = f"{path}: there is no such {kind}; {nearest(name, known)}"
            raise Refusal(place if is_value else (*place, name), sentence)


def written(place: Place) -> str:
    """Return a place as people write it: `inputs[0].shape`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return text.removeprefix(".")


def place_of(sentence: str) -> Place:
    """Return the place that msgspec names in its sentence."""
    path = sentence.rpartition("`$")[2].partition("`")[0]
    return tuple(name or int(index) for name, index in STEP.findall(path))


def line_of(text: str, place: Place) -> int:
    """Return the line, from 1, of the key at a place; of the table around it where it is not to be seen."""
    lines = text.splitlines()
    names = [step for step in place if isinstance(step, str)]
    if not names:
        return FIRST_LINE
    section, index = names[0], next((step for step in place[1:] if isinstance(step, int)), 0)
    region = list(_table(lines, section, index)) if len(names) > 1 else list(_top(lines))
    found = _assigned(lines, region, names[-1]) or _assigned(lines, region, section)
    headers = [number for number, name in _headers(lines) if name.split(".")[0] == section]
    return found or (headers[min(index, len(headers) - 1)] if headers else FIRST_LINE)


def _headers(lines: list[str]) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(lines, FIRST_LINE):
        if (match := HEADER.match(line)) and "=" not in line:
            yield number, match.group(1).strip("\"'")


def _top(lines: list[str]) -> range:
    return range(FIRST_LINE, next((number for number, _ in _headers(lines)), len(lines) + 1))


def _table(lines: list[str], section: str, index: int) -> range:
    headers = [*_headers(lines), (len(lines) + 1, "")]
    starts = [place for place, (_, name) in enumerate(headers) if name.split(".")[0] == section]
    if index < len(starts):
        start = starts[index]
        return range(headers[start][0], headers[start + 1][0])
    return _top(lines)


def _assigned(lines: list[str], region: Iterable[int], key: str) -> int:
    assignment = re.compile(rf"(^|[\s,{{.])[\"']?{re.escape(key)}[\"']?\s*=")
    return next((number for number in region if assignment.search(lines[number - 1].partition("#")[0])), 0)
