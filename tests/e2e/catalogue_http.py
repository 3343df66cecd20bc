"""Rows E01 to E16: raw requests whose framing, syntax, target or method is an attack."""

from __future__ import annotations

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tests.e2e.catalogue_bench import DEADLINE_SECONDS, Bench, counted, row, unless
from tests.e2e.outcome import Outcome
from tests.gateway.http_vectors import CLOSED, HOST, POST, VECTORS, Vector, exchange, statuses_in, verdict

VECTOR_ROWS = {
    "E01": "Content-Length and Transfer-Encoding, chunked twice, other codings",
    "E02": "Content-Length twice, as a list, signed, hexadecimal, with other digits",
    "E03": "bare CR, NUL, ESC, space before the colon, bad field names",
    "E04": "folded fields, bare LF",
    "E05": "lengths and chunk sizes of 2^64 and more",
    "E06": "a length of 2^63-1",
    "E07": "chunked in HTTP/1.0, HTTP/0.9, 2.0, 9.9, the preface of HTTP/2",
    "E08": "Host missing, twice, empty, foreign, with user data",
    "E09": "absolute targets with another authority or scheme",
    "E10": "targets of 20 kB, fields of 100 kB, 300 fields, endless ones",
    "E12": "paths with NUL, CR LF, broken UTF-8, encoded slashes, dot segments",
    "E13": "trailers that set length, host, credentials",
    "E14": "requests smuggled behind unread bodies, refusals, closes, upgrades",
    "E15": "Expect: 100-continue and silence; Expect: junk",
    "E16": "TRACE, CONNECT, NUL, lower case, 4 kB as a method",
}
PATIENCE_SECONDS = DEADLINE_SECONDS + 4.0
ANSWERED = {"unread-body": frozenset({415}), "after-close": frozenset({200})}
"""What those vectors get that reach a resource of the gateway, which is not the one they were written for."""


def aimed(vector: Vector) -> Vector:
    """Return the vector for the gateway's own paths; it was written for a test application's."""
    predict = POST.replace(b"/echo", b"/predict") + b"Content-Type: application/json\r\n"
    data = vector.data.replace(POST, predict).replace(b"POST /echo ", b"POST /predict ")
    data = data.replace(b"POST /refuse ", b"POST /predict ").replace(b"GET / HTTP/1.1\r\n", b"GET /health HTTP/1.1\r\n")
    return dataclasses.replace(vector, data=data, statuses=ANSWERED.get(vector.name, vector.statuses))


def attacked(identity: str, bench: Bench) -> Outcome:
    """Send every vector of a row, and hold each answer to the vector's verdict."""
    vectors = [aimed(vector) for vector in VECTORS if vector.row == identity]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda vector: exchange(bench.address, vector.data, PATIENCE_SECONDS), vectors))
    verdicts = [
        (vector.name, verdict(vector, received, closed=closed))
        for vector, (received, closed) in zip(vectors, answers, strict=True)
    ]
    wrong = tuple(f"{name}: {mistake}" for name, mistake in verdicts if mistake)
    leaks = tuple(f"no JSON: {received[:80]!r}" for received, _ in answers if received and not _plain(received))
    statuses = [status for received, _ in answers for status in statuses_in(received) or [CLOSED]]
    return Outcome(f"{len(vectors)} vectors: {counted(statuses)}; one answer each, then closed", "", wrong + leaks)


def _plain(received: bytes) -> bool:
    body = received.rpartition(b"\r\n\r\n")[2]
    return isinstance(json.loads(body), dict) and b"application/json" in received and b"<html" not in received.lower()


for _identity, _done in VECTOR_ROWS.items():
    row(_identity, _done)(partial(attacked, _identity))


@row("E11", "Content_Length, X_Request_Id, Transfer_Encoding, Content_Type beside the real fields")
def underscores(bench: Bench) -> Outcome:
    """Twins with underscores are dropped: they never pass for the real field."""
    twins = b"Content_Length: 999\r\nX_Request_Id: forged\r\nTransfer_Encoding: chunked\r\nContent_Type: text/plain\r\n"
    body = b'{"prompt": "fine"}'
    head = b"POST /predict HTTP/1.1\r\n" + HOST + twins + b"Connection: close\r\nContent-Type: application/json\r\n"
    received, closed = exchange(bench.address, head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body), 10.0)
    wrong = unless(statuses_in(received) == [200] and closed, f"statuses {statuses_in(received)}")
    wrong += unless(b"forged" not in received, "the twin of X-Request-Id was believed")
    return Outcome("200; the twins were dropped", wrong=wrong)
