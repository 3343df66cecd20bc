"""A request that arrives whole and one that arrives in pieces get the same answer, although they go different ways."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.gateway.http_server import client, read_to_end
from tests.gateway.whole_gateway import HELD, ODD, STATUSES, Gateway, Normal, features, gateway, normal, post
from tests.otel.collector import Collector

GOOD = features(3, 0.5)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"


@pytest.fixture(scope="module")
def served() -> Iterator[Gateway]:
    """Return a running gateway."""
    with gateway() as running:
        running.send(post(GOOD))
        yield running


def halves(request: bytes) -> tuple[bytes, bytes]:
    """Cut a request inside its body."""
    end = request.index(b"\r\n\r\n") + 4
    cut = end + (len(request) - end) // 2
    return request[:cut], request[cut:]


def without_early_end(answer: Normal) -> Normal:
    """Leave out the end of a connection whose request was refused before its body had come."""
    line, fields_, body = answer
    is_refusal = line.split()[1].startswith(b"4")
    return line, [field for field in fields_ if not (is_refusal and field == b"connection: close")], body


def same(served: Gateway, request: bytes) -> tuple[bytes, bool]:
    """Send a request both ways, compare the answers, and return the status line and whether one way was direct."""
    served.seen.clear()
    whole = normal(served.send(request))
    was_direct = bool(served.seen["direct"])
    pieces = normal(served.send(*halves(request)))
    assert served.seen["direct"] == was_direct
    assert without_early_end(pieces) == without_early_end(whole)
    return whole[0], was_direct


BODIES = {
    "features": (GOOD, 200),
    "prompt": ('{"prompt": "schön"}'.encode(), 200),
    "last-key-wins": (b'{"features": [1], "features": [2]}', 200),
    "large": (b'{"prompt": "%b"}' % (b"x" * 60_000), 200),
    "at-the-limit": (b'{"prompt": "%b"}' % (b"x" * (64 * 1024 - 14)), 200),
    "unknown-model": (b'{"features": [1], "model_name": "nobody"}', 404),
    "bad-model-name": (b'{"features": [1], "model_name": "../x"}', 400),
    "no-class": (b'{"prompt": "x", "model_name": "embedder"}', 400),
    "odd-class": (features(ODD), 500),
    "text-features": (b'{"features": "invalid"}', 400),
    "no-features": (b'{"features": []}', 400),
    "huge-number": (b'{"features": [1e39]}', 400),
    "nan": (b'{"features": [NaN]}', 400),
    "both": (b'{"features": [1], "prompt": "x"}', 400),
    "neither": (b"{}", 400),
    "unknown-key": (b'{"features": [1], "more": 1}', 400),
    "not-json": (b"no json", 400),
    "not-utf8": (b'{"prompt": "\xff"}', 400),
    "deep": (b"[" * 5000, 400),
    **{f"status-{code.name}": (features(value), 0) for value, code in STATUSES.items()},
}


@pytest.mark.parametrize(("body", "status"), BODIES.values(), ids=BODIES)
def test_the_same_answer_to_each_body(served: Gateway, body: bytes, status: int) -> None:
    """Status, header fields and body do not depend on how the bytes were cut, and the whole one goes the direct way."""
    line, was_direct = same(served, post(body))
    if not was_direct:  # TCP itself may cut a large one
        line, was_direct = same(served, post(body))
    assert was_direct
    assert str(status or "").encode() in line


DIRECT_FIELDS = [
    (f"X-Request-Timeout: {value}", status)
    for value, status in [("1", 200), ("1e400", 200), ("inf", 200), ("0", 400), ("-1", 400), ("nan", 400), ("x", 400)]
]
DIRECT_FIELDS += [
    (f"X-Priority: {value}", status) for value, status in [("batch", 200), ("Interactive", 200), ("x", 400)]
]
DIRECT_FIELDS += [(f"X-Request-Id: {value}", 200) for value in ["order-66", "a b", "", "\xe4", "x" * 65]]
DIRECT_FIELDS += [(f"traceparent: {value}", 200) for value in [f"{TRACE}-01", f"{TRACE}-00", f"{TRACE}-zz", "", "\xff"]]
DIRECT_FIELDS += [("tracestate: a=\xe4", 200), ("X-Other: \xe4", 200), ("Connection: close", 200)]
DIRECT_FIELDS += [
    ("Connection: keep-alive", 200),
    ("X_Priority: nonsense", 200),
]


@pytest.mark.parametrize(("field", "status"), DIRECT_FIELDS, ids=[repr(field) for field, _ in DIRECT_FIELDS])
def test_the_same_answer_to_each_header_field(served: Gateway, field: str, status: int) -> None:
    """What a header field asks for is done, or refused, in the same way."""
    line, was_direct = same(served, post(GOOD, field))
    assert was_direct
    assert str(status).encode() in line


OTHER = {
    "charset": (post(GOOD, "Content-Type: application/json; charset=utf-8"), 200),
    "upper-case": (post(GOOD, "Content-Type: Application/JSON"), 200),
    "space": (post(GOOD, "Content-Type:application/json "), 200),
    "other-type": (post(GOOD, "Content-Type: application/jsonx"), 415),
    "patch-type": (post(GOOD, "Content-Type: application/json-patch+json"), 415),
    "no-type": (post(GOOD, "Content-Type:none"), 415),
    "identity": (post(GOOD, "Content-Encoding: identity"), 200),
    "gzip": (post(GOOD, "Content-Encoding: gzip"), 415),
    "two-ids": (post(GOOD, "X-Request-Id: a", "X-Request-Id: b"), 200),
    "two-timeouts": (post(GOOD, "X-Request-Timeout: 1", "X-Request-Timeout: 2"), 400),
    "query": (post(GOOD, target="/predict?a=b"), 200),
    "absolute": (post(GOOD, target="http://localhost/predict"), 200),
    "other-path": (post(GOOD, target="/nothing"), 404),
    "put": (post(GOOD, method="PUT"), 405),
    "1.0": (post(GOOD, version="1.0"), 200),
    "larger": (post(b'{"prompt": "%b"}' % (b"x" * 64 * 1024)), 200),
    "foreign-host": (post(GOOD, "Host: evil.example"), 421),
}


@pytest.mark.parametrize(("request_", "status"), OTHER.values(), ids=OTHER)
def test_what_is_unusual_goes_the_long_way(served: Gateway, request_: bytes, status: int) -> None:
    """Another type, encoding, version, target or a repeated field is left to the application."""
    served.seen.clear()
    whole = normal(served.send(request_))
    assert not served.seen["direct"]
    assert str(status).encode() in whole[0]
    if status != 421:
        assert without_early_end(normal(served.send(*halves(request_)))) == without_early_end(whole)


def test_a_head_request_has_no_body(served: Gateway) -> None:
    """HEAD is not answered at this path, and says so without a body."""
    with client(served.address) as connection:
        connection.sendall(post(b"", "Content-Length:none", "Connection: close", method="HEAD"))
        answer = read_to_end(connection)
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert answer.endswith(b"\r\n\r\n")


def test_a_missed_deadline_is_the_same(served: Gateway) -> None:
    """504 with the same sentence, in time."""
    line, was_direct = same(served, post(features(HELD), "X-Request-Timeout: 0.15"))
    assert was_direct
    assert b"504" in line


def test_the_span_is_the_same() -> None:
    """Both ways leave the same trace: a server span with the same attributes, a queue span and a client span."""
    collector = Collector()
    try:
        with gateway(collector.endpoint) as running:
            assert same(running, post(GOOD, "Host: localhost:3000", f"traceparent: {TRACE}-01", "X-Request-Id: one"))[1]
        servers = [span for span in collector.spans() if span.kind == Span.SPAN_KIND_SERVER]
        one, two = [{item.key: item.value for item in span.attributes} for span in servers]
        assert two.pop("client.address").string_value == "127.0.0.1"
        assert one == two
        assert len({span.parent_span_id for span in servers}) == 1
        for server in servers:
            children = {span.name for span in collector.spans() if span.parent_span_id == server.span_id}
            slow_border = {"receive", "respond"}
            assert children - slow_border == {"queue", "inference.GRPCInferenceService/ModelInfer"}
    finally:
        collector.close()


numbers = st.floats(allow_nan=True) | st.integers(-(2**70), 2**70)
values = (
    st.none() | st.booleans() | numbers | st.text(max_size=20) | st.lists(numbers | st.text(max_size=3), max_size=5)
)
bodies = st.dictionaries(st.sampled_from(["features", "prompt", "model_name", "other"]), values, max_size=3).map(
    lambda body: json.dumps(body, ensure_ascii=False).encode(errors="replace")
)
cut_bodies = st.tuples(bodies, st.integers(0, 40)).map(lambda pair: pair[0][: len(pair[0]) - pair[1]])
fields = st.lists(
    st.sampled_from([field for field, _ in DIRECT_FIELDS] + ["Content-Type: text/plain", "Content-Encoding: gzip"]),
    max_size=3,
)


@given(body=(bodies | cut_bodies | st.binary(max_size=60)).filter(lambda body: len(body) > 1), extra=fields)
@settings(max_examples=60)
def test_the_same_answer_to_anything(served: Gateway, body: bytes, extra: list[str]) -> None:
    """Whatever the body and its header fields are, the answer does not tell which way the request went."""
    line, _ = same(served, post(body, *extra))
    assert line.split()[1] != b"500"
