"""Bodies that a hostile or broken client sends to POST /predict, each under its row of the fault catalogue.

`mistakes_in` says what is wrong with the answer to one of them.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
from hypothesis import strategies as st

JSON = "application/json"
REFUSED = frozenset({400})
UNSUPPORTED = frozenset({415})
ANSWERED_OR_REFUSED = frozenset({200, 400, 404})

PROMPT = b'{"prompt": "What a wonderful day", "model_name": "sentiment"}'
FEATURES = b'{"features": [0.5, -1.25e-3, 3, 0.9], "model_name": "v1-mock"}'
ESCAPES = '{"prompt": "caf\u00e9 \\u00e9 \\ud83d\\ude00 \U0001f600 \\n"}'.encode()
VALID = (PROMPT, FEATURES, ESCAPES)

ANSWER = {"class_id", "confidence", "error", "label", "model_name", "model_version"}
LEAK = re.compile(r"Traceback|\.py\b|\bline \d+\b|\w(Error|Exception)\b|<class |0x[0-9a-f]{6}|msgspec|numpy\.|grpc\.")
ID = re.compile(r"[0-9a-f]{32}")
ERROR_LIMIT = 1024


@dataclass(frozen=True)
class Hostile:
    """One body with its headers, and the statuses that are right for it."""

    row: str
    data: bytes
    statuses: frozenset[int] = REFUSED
    content_type: str | None = JSON
    encoding: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers that describe the body."""
        given = {"Content-Type": self.content_type, "Content-Encoding": self.encoding}
        return {name: value for name, value in given.items() if value is not None}


def mistakes_in(answer: httpx.Response, body: Hostile) -> Iterator[str]:
    """Yield what an answer to that body must not be."""
    if answer.status_code not in body.statuses:
        yield f"a status other than {sorted(body.statuses)}"
    for name in ("x-request-id", "x-trace-id"):
        if not ID.fullmatch(answer.headers.get(name, "")):
            yield f"no {name}"
    try:
        document = answer.json()
    except ValueError:
        yield "no JSON"
        return
    keys = set(document) if isinstance(document, dict) else None
    if keys != (ANSWER if answer.is_success else {"error"}):
        yield f"keys {keys}"
    elif _leaks(document["error"], body.data) or len(document["error"]) > ERROR_LIMIT:
        yield "something of the inside, or far too much"


def _leaks(sentence: str, sent: bytes) -> bool:
    # A key that the client made up may be told back, and hypothesis makes up words of this very program.
    return any(found.group().encode() not in sent for found in LEAK.finditer(sentence))


def _document(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def _truncated() -> Iterator[Hostile]:
    yield from (Hostile("D01", body[:length]) for body in VALID for length in range(len(body)))


def _not_an_object() -> Iterator[Hostile]:
    wrong = (b"", b" ", b"null", b"true", b"0", b"[]", b'"x"', b"[{}]", b"{}", b"{]", b"}", b"\xef\xbb\xbf" + PROMPT)
    trailing = (PROMPT + tail for tail in (b"x", b"\x00", PROMPT, b",", b"}", b"//", b"\xff"))
    encoded = (PROMPT.decode().encode(name) for name in ("utf-16", "utf-16-le", "utf-32", "utf-7"))
    yield from (Hostile("D02", body) for body in (*wrong, *trailing))
    yield from (Hostile("D02", body, ANSWERED_OR_REFUSED) for body in encoded)  # UTF-7 of ASCII is ASCII
    yield from (Hostile("D02", body) for body in (b"{'prompt': 'x'}", b"{prompt: 1}", b'{"prompt": "x",}', b"//\n{}"))


def _numbers() -> Iterator[Hostile]:
    not_finite = ("NaN", "Infinity", "-Infinity", "nan", "1e999", "-1e999", "3.5e38", "-3.5e38", "1e39", "1e308")
    digits = ("9" * count for count in (40, 309, 5000, 1_000_000))
    malformed = ("01", "+1", "1.", ".5", "0x10", "1e", "1_0", "--1", "1,,2", "\u0665", "1e+", "-", "1 2")
    yield from (Hostile("D03", b'{"features": [1, %s]}' % text.encode()) for text in (*not_finite, *malformed))
    yield from (Hostile("D05", b'{"features": [%s]}' % text.encode()) for text in digits)
    sound = (2**31, -(2**31) - 1, 2**63, -(2**63) - 1, 2**64, 2**64 + 1, 10**30, 3.4028235e38, 5e-324, -0.0)
    yield from (Hostile("D05", _document(features=[number]), frozenset({200})) for number in sound)
    yield Hostile("D05", b'{"features": [0.%s]}' % (b"3" * 100_000), ANSWERED_OR_REFUSED)


def _nested() -> Iterator[Hostile]:
    for depth in (1000, 100_000, 1_000_000):
        yield Hostile("D06", b"[" * depth)
        yield Hostile("D06", b"[" * depth + b"]" * depth)
        yield Hostile("D06", b'{"features": ' + b"[" * depth)
        yield Hostile("D06", b'{"model_name": "v1-mock", "features": [' + b"[" * depth + b"1" + b"]" * depth + b"]}")
        yield Hostile("D06", b'{"prompt":' * depth)
        yield Hostile("D06", b'{"x":' * depth + b"1" + b"}" * depth)


def _twice() -> Iterator[Hostile]:
    yield Hostile("D07", b'{"prompt": "bad", "prompt": "good"}', frozenset({200}))
    yield Hostile("D07", b'{"prompt": "x", "prompt": 1}')
    yield Hostile("D07", b'{"prompt": "x", "model_name": "sentiment", "model_name": "../x"}')
    yield Hostile("D07", b'{"features": [1], "features": ["x"]}')
    yield Hostile("D07", b'{"prompt": "x", "features": [1]}')


def _text() -> Iterator[Hostile]:
    invalid = (
        b"\xff",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf5\x80\x80\x80",
        b"\xe2\x82",
        b"\x80",
        b"\xf8\x88\x80\x80\x80",
    )
    raw_controls = (bytes([code]) for code in range(0x20))
    lone = (b"\\ud800", b"\\udc00", b"\\ud800x", b"\\ud800\\ud800", b"\\udc00\\ud800", b"\\uZZZZ", b"\\x41", b"\\u12")
    for text in (*invalid, *raw_controls, *lone):
        yield Hostile("D08", b'{"prompt": "%b"}' % text)
        yield Hostile("D08", b'{"prompt": "x", "model_name": "%b"}' % text)
    yield from (Hostile("D08", b'{"%b": 1}' % text) for text in (*invalid, *lone))
    yield from (Hostile("D08", _document(prompt=text), frozenset({200})) for text in ("\0", "\x1b[31m", "\u202e", ""))
    yield Hostile("D08", _document(prompt="a" * 1_000_000))
    yield Hostile("D08", _document(prompt="\U0001f600" * 5000))


def _wrong_types() -> Iterator[Hostile]:
    values: tuple[Any, ...] = (
        None,
        True,
        "",
        "1",
        {},
        {"0": 1},
        [[]],
        [None],
        [True],
        ["1"],
        [[1]],
        [{}],
        [1, "2"],
        [1, [2]],
        [],
    )
    yield from (Hostile("D09", _document(features=value)) for value in (*values, 1, 1.5))
    prompts: tuple[Any, ...] = (None, True, 1, 1.5, [], ["x"], {}, {"x": "y"})
    yield from (Hostile("D09", _document(prompt=value)) for value in prompts)
    names: tuple[Any, ...] = (None, True, 1, [], {}, ["sentiment"])
    for value in names:
        yield Hostile("D09", _document(prompt="x", model_name=value))
    yield Hostile("D09", _document(features=[1.0] * 65, model_name="digits"))
    yield Hostile("D09", _document(features=[1.0], model_name="sentiment"))
    yield Hostile("D09", _document(prompt="x", model_name="digits"))
    yield Hostile("D18", b'{"features": [' + b"1," * 999_999 + b"1]}", frozenset({200}))
    yield Hostile("D18", b"{" + b",".join(b'"key%d": 1' % number for number in range(100_000)) + b"}")


def _names() -> Iterator[Hostile]:
    outside = ("..", "../..", "../../etc/passwd", "a/../b", "/etc/passwd", "sentiment/1", "sentiment\0", "\0", "a\nb")
    markup = ("<img src=x onerror=alert(1)>", "<script>", '"},{"level":"error', "\x1b[2J", "\r\nX-Evil: 1", "\u202e")
    formats = ("%s%s%s%n", "{0.__class__}", "${jndi:ldap://x}", "{{7*7}}", "$(id)", "`id`", "';--", "%00", "\\", "*")
    odd = (" ", " sentiment", "sentiment ", ".", "-x", "_x", "a..b", "s\u0435ntiment", "a" * 129, "a" * 10_000)
    for name in (*outside, *markup, *formats, *odd):
        yield Hostile("D15", _document(prompt="x", model_name=name))
        yield Hostile("D15", _document(**{"prompt": "x", name: 1}))
        yield Hostile("H06", _document(prompt=name), frozenset({200}))
    unknown = ("Sentiment", "SENTIMENT", "sentiment.", "nobody", "a" * 128, "con", "1", "proto")
    yield from (Hostile("D15", _document(prompt="x", model_name=name), frozenset({404})) for name in unknown)
    yield from (
        Hostile("D15", _document(**{"prompt": "x", key: 1})) for key in ("__class__", "__proto__", "Prompt", "")
    )


def _other_types() -> Iterator[Hostile]:
    types = (None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x")
    more = ("application/xml", "application/jsonp", "application/json-patch+json", "*/*", "json", "application/msgpack")
    yield from (Hostile("D14", PROMPT, UNSUPPORTED, content_type=kind) for kind in (*types, *more))
    bomb = gzip.compress(b"[" * 10_000_000)
    squeezed = {"gzip": gzip.compress(PROMPT), "x-gzip": bomb, "deflate": zlib.compress(PROMPT), "br": b"\x0b\x02"}
    yield from (Hostile("D13", data, UNSUPPORTED, encoding=name) for name, data in squeezed.items())
    yield Hostile("D13", gzip.compress(gzip.compress(PROMPT)), UNSUPPORTED, encoding="gzip, gzip")
    yield Hostile("D13", gzip.compress(PROMPT))
    yield Hostile("D13", PROMPT, UNSUPPORTED, encoding="gzip")
    yield Hostile("D14", b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--")
    yield Hostile("D14", b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>')


_GROUPS: tuple[Callable[[], Iterator[Hostile]], ...] = (
    _truncated,
    _not_an_object,
    _numbers,
    _nested,
    _twice,
    _text,
    _wrong_types,
    _names,
    _other_types,
)


def hand_written() -> list[Hostile]:
    """Return every body of the list; those of a million elements make it about 20 MB."""
    return [body for group in _GROUPS for body in group()]


def _mutated(body: bytes, position: int, junk: bytes, width: int) -> bytes:
    place = position % (len(body) + 1)
    return body[:place] + junk + body[place + width :]


_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
_names_of_ours = st.sampled_from(["features", "prompt", "model_name"])

RANDOM_BYTES = st.binary(max_size=200)
RANDOM_JSON = st.one_of(
    _values, st.dictionaries(_names_of_ours, _values, min_size=1), st.dictionaries(_names_of_ours | st.text(), _values)
).map(lambda value: json.dumps(value).encode())
MUTATED = st.builds(_mutated, st.sampled_from(VALID), st.integers(0, 200), st.binary(max_size=4), st.integers(0, 8))
GENERATED = {"random bytes": RANDOM_BYTES, "random JSON": RANDOM_JSON, "mutated": MUTATED}
"""What hypothesis makes up; a mutation may happen to be valid, so these are held to ANSWERED_OR_REFUSED."""
