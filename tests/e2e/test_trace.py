"""One request is one trace across the hop, in the real Jaeger and in the embedded store, which take turns."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import psutil
import pytest

from otel.store.summary import Summary
from otel.store.why import stages_of
from tests import web
from tests.e2e.system import System
from tests.tools import tool
from tests.waiting import wait_for

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"


CALL = "inference.GRPCInferenceService/ModelInfer"
PATH = (
    ("gateway", "POST /predict"),
    ("gateway", CALL),
    ("inference-worker", CALL),
    ("inference-worker", "compute"),
)
OWN = (("gateway", "receive"), ("gateway", "queue"), ("gateway", "respond"))
WORKER_QUEUE = ("inference-worker", "queue")
REQUESTS, EXPLAINED = 32, 0.95
TINY, SLOW = '{"prompt": "fine"}', '{"features": [1.0], "model_name": "v1-mock"}'


def spans_of(system: System, trace: str, count: int) -> list[dict[str, Any]]:
    """Return a trace's spans from Jaeger's query API, waiting until all are there."""

    def find() -> list[dict[str, Any]]:
        found = web.get(f"http://127.0.0.1:{system.jaeger_ports['UI']}/api/v3/traces/{trace}")
        if found.status_code != httpx.codes.OK:
            return []
        resources = found.json()["result"]["resourceSpans"]
        spans = [_flat(resource, span) for resource in resources for span in resource["scopeSpans"][0]["spans"]]
        return spans if len(spans) >= count else []

    return wait_for(find, f"trace {trace} with {count} spans in Jaeger", 30)


def _flat(resource: dict[str, Any], span: dict[str, Any]) -> dict[str, Any]:
    return {
        "service": _attributes(resource["resource"])["service.name"],
        "instance": _attributes(resource["resource"])["service.instance.id"],
        "name": span["name"],
        "id": span["spanId"],
        "parent": span.get("parentSpanId", ""),
        "times": (int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])),
        **_attributes(span),
    }


def _attributes(owner: dict[str, Any]) -> dict[str, Any]:
    return {item["key"]: next(iter(item["value"].values())) for item in owner.get("attributes", ())}


def jaeger_answers(system: System) -> bool:
    """Tell whether Jaeger says that it is ready."""
    try:
        return web.get(f"http://127.0.0.1:{system.jaeger_ports['HEALTH']}/status").is_success
    except httpx.TransportError:
        return False


async def asked_together(system: System, body: str, first: int) -> list[str]:
    """Send 32 requests at once, and return the ids of their traces, which are all kept."""
    traces = [f"{first + number:032x}" for number in range(REQUESTS)]
    common = {"Content-Type": "application/json"}
    async with web.async_client(base_url=system.url, timeout=20) as client:
        asked = [
            client.post("/predict", content=body, headers={**common, "traceparent": f"00-{trace}-{CALLER}-01"})
            for trace in traces
        ]
        assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}
    return traces


def explained(spans: list[dict[str, Any]]) -> float:
    """Return the share of the server span's time that the spans directly below it cover, each moment counted once."""
    (server,) = [span for span in spans if (span["service"], span["name"]) == PATH[0]]
    began, ended = server["times"]
    covered, until = 0, began
    for start, end in sorted(span["times"] for span in spans if span["parent"] == server["id"]):
        covered += max(0, min(end, ended) - max(start, until))
        until = max(until, end)
    return float(covered / (ended - began))


def test_a_request_is_one_trace_of_two_services(system: System) -> None:
    """Caller, HTTP server, RPC client, RPC server, compute: each is the next one's parent, other stages beside them."""
    tool("jaeger")
    system.control("stop", "tracestore")
    system.control("start", "jaeger")
    wait_for(lambda: jaeger_answers(system), "Jaeger ready", 30)
    answer = system.curl("/predict", '{"prompt": "fine"}', "-H", f"traceparent: 00-{TRACE}-{CALLER}-01")
    assert (answer.status, answer.headers["x-trace-id"]) == (200, TRACE)
    spans = {(span["service"], span["name"]): span for span in spans_of(system, TRACE, 7)}
    assert set(spans) - {WORKER_QUEUE} == {*PATH, *OWN}, "the worker's queue has a span only where the call waited"
    assert {spans[stage]["parent"] for stage in OWN} == {spans[PATH[0]]["id"]}
    assert [spans[step]["parent"] for step in PATH] == [CALLER, *(spans[step]["id"] for step in PATH[:3])]
    assert spans[PATH[0]]["http.response.status_code"] == "200"
    assert spans[PATH[2]]["rpc.response.status_code"] == "OK"
    assert spans[PATH[3]]["app.model.name"] == "sentiment"
    assert spans[PATH[0]]["instance"] != spans[PATH[2]]["instance"]
    assert system.log_line("gateway", "request", trace_id=TRACE)["span_id"] == spans[PATH[0]]["id"]
    assert system.log_line("inference", "call", trace_id=TRACE)["span_id"] == spans[PATH[2]]["id"]


@pytest.mark.parametrize(("body", "first"), [(TINY, 1000), (SLOW, 2000)])
def test_every_millisecond_is_explained_in_jaeger(system: System, body: str, first: int) -> None:
    """Of each of 32 requests at once, the stages cover nearly all that the server span lasts."""
    tool("jaeger")
    traces = asyncio.run(asked_together(system, body, first))
    found = [spans_of(system, trace, 7) for trace in traces]
    assert min(map(explained, found)) >= EXPLAINED
    if body == SLOW:
        assert any(int(span.get("app.batch.size", 1)) > 1 for spans in found for span in spans), "some share a batch"


def test_jaeger_listens_on_loopback_only(system: System) -> None:
    """Nothing of Jaeger can be reached from another machine."""
    tool("jaeger")
    listeners = [
        connection.laddr.ip
        for pid in system.processes()
        if psutil.Process(pid).name() == "jaeger"
        for connection in psutil.Process(pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listeners) >= 5
    assert set(listeners) == {"127.0.0.1"}


def test_stopping_jaeger_costs_no_request(system: System) -> None:
    """With nobody at the OTLP endpoint predictions go on."""
    system.control("stop", "jaeger")
    assert [system.curl("/predict", '{"prompt": "fine"}').status for _ in range(5)] == [200] * 5


def test_the_embedded_store_takes_jaegers_place(system: System) -> None:
    """With nothing changed but who runs, the next request's complete trace is found by its request id."""
    system.control("stop", "jaeger")
    system.control("start", "tracestore")
    asked = [
        ("-H", f"traceparent: 00-{number:032x}-{CALLER}-01", "-H", f"X-Request-Id: r-{number}") for number in (1, 2)
    ]
    stored = system.stored()
    wait_for(lambda: "RUNNING" in system.control("status", "tracestore"), "the store's start", 30)
    assert [system.curl("/predict", '{"prompt": "fine"}', *options).status for options in asked] == [200, 200]

    def is_whole() -> bool:
        return any(found.summary.spans >= len(PATH) + len(OWN) for found in stored.of_request("r-2"))

    wait_for(is_whole, "both programs' spans in the store", 30)
    (found,) = stored.of_request("r-2")
    assert (found.trace_id, found.summary.status, found.summary.kept) == (f"{2:032x}", "200", "flag")
    summary = found.summary
    assert 0 < summary.compute <= summary.calls <= summary.duration


@pytest.mark.parametrize(("body", "first"), [(TINY, 3000), (SLOW, 4000)])
def test_every_millisecond_is_explained_in_the_store(system: System, body: str, first: int) -> None:
    """Of each of 32 requests at once, hardly anything is in no stage, and nothing is in two."""
    traces = asyncio.run(asked_together(system, body, first))
    stored = system.stored()

    def whole() -> list[Summary]:
        found = [each.summary for trace in traces if (each := stored.find(trace)) and each.summary.spans >= 7]
        return found if len(found) == REQUESTS else []

    for summary in wait_for(whole, "all spans of all requests in the store", 30):
        stages = stages_of(summary)
        assert stages["rest"] <= (1 - EXPLAINED) * summary.duration, stages
        assert sum(stages.values()) <= 1.001 * summary.duration, stages
