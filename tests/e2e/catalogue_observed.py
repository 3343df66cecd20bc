"""Rows H08 and H11: what the system says of itself, however it is asked, and to whom."""

from __future__ import annotations

import secrets
import socket
import sys
from collections import Counter
from collections.abc import Iterator

import grpc
import httpx

from inference_core.settings import CHECKOUT
from inference_pb import open_inference_pb2 as wire
from inference_pb.open_inference_pb2_grpc import GRPCInferenceServiceStub
from tests import web
from tests.e2e.catalogue_bench import Bench, counted, row, unless
from tests.e2e.guest_models import guests, written
from tests.e2e.hostile_model import DESCRIPTION
from tests.e2e.outcome import Outcome
from tests.gateway.http_vectors import HOST, statuses_in
from tests.waiting import wait_for

NAMES, AT_ONCE, CALLS = 10_000, 16, 500
MOST_NEW = 10
"""Series that the machine itself may begin meanwhile."""

LABEL = "made-up"
OTHERS = 'inferencehub_gateway_requests_total{code="404",model="other",version=""}'
REQUESTS = {
    "POST /predict": ('{{"prompt": "x", "model_name": "{name}"}}', "/predict", ""),
    "POST /v2/models/NAME/infer": ("{{}}", "/v2/models/{name}/infer", ""),
    "X-Model-Version: NAME": ('{{"prompt": "x"}}', "/predict", "X-Model-Version: {name}\r\nX-User-Key: {name}\r\n"),
    "versions/NAME": ("{{}}", "/v2/models/sentiment/versions/{name}/infer", ""),
}
"""Ways of asking for a name: body, path and header fields."""

HEALTH = "/health"
"""It names the sockets of the workers, as the origin's contract has it."""

PAGES = (
    "/metrics",
    HEALTH,
    "/ready",
    "/v2",
    "/v2/models/stats",
    "/v2/models/sentiment",
    "/v2/models/sentiment/config",
    "/v2/models/sentiment/stats",
    "/admin/traffic",
    "/openapi.json",
    "/docs",
    "/console",
    "/console/api/about",
    "/console/api/models",
    "/console/api/workers",
    "/console/api/traces",
    "/console/api/why?model=sentiment",
)
INDEX, LIVE = "/v2/repository/index", "/console/api/live"
BROKEN = 'raise OSError(2, "No such file", __file__)\n'
MISTYPED = 'runtime = "python"\nlimit = 3\n'


@row("H08", f"{NAMES} made-up names of models and versions over HTTP, {CALLS} over gRPC")
def made_up_names(bench: Bench) -> Outcome:
    """Count them under `other`: the number of series stays as it was."""
    first = [f"{LABEL}-first-{number}" for number in range(2 * len(REQUESTS))]
    _ask_for(bench, first)
    _call_for(bench, first)
    before = _settled(bench)
    statuses = _ask_for(bench, [f"{LABEL}-{number}" for number in range(NAMES)])
    codes = _call_for(bench, [f"{LABEL}-{number}" for number in range(CALLS)])
    expected = NAMES // len(REQUESTS)
    wait_for(lambda: _value(_page(bench)) - _value(before) >= expected, "all unknown models counted")
    after = _page(bench)
    new = len(_series(after) - _series(before))
    wrong = unless(new <= MOST_NEW, f"{new} new series") + unless(LABEL not in after, "a name is on the page")
    wrong += unless(set(statuses) <= {400, 404} and set(codes) == {"NOT_FOUND"}, f"{statuses}, {codes}")
    happened = f"{counted(statuses)}; gRPC {dict(Counter(codes))}; none of the names on the page"
    return Outcome(happened, f"{len(_series(before))} series, then {new} more", wrong)


def _ask_for(bench: Bench, names: list[str]) -> list[int]:
    ways = list(REQUESTS.values())
    requests = [_request(name, *ways[number % len(ways)]) for number, name in enumerate(names)]
    statuses: list[int] = []
    with socket.create_connection(bench.address, timeout=30) as connection:
        for first in range(0, len(requests), AT_ONCE):
            sent = requests[first : first + AT_ONCE]
            connection.sendall(b"".join(sent))
            received = b""
            while len(statuses_in(received)) < len(sent):
                received += connection.recv(65536) or b"HTTP/1.1 999 closed\r\n"
            statuses += statuses_in(received)
    return statuses


def _request(name: str, body: str, path: str, fields: str) -> bytes:
    content, target = body.format(name=name).encode(), path.format(name=name).encode()
    head = b"POST %b HTTP/1.1\r\n%bContent-Type: application/json\r\n" % (target, HOST)
    return head + fields.format(name=name).encode() + b"Content-Length: %d\r\n\r\n%b" % (len(content), content)


def _call_for(bench: Bench, names: list[str]) -> list[str]:
    def asked(name: str) -> str:
        try:
            stub.ModelInfer(wire.ModelInferRequest(model_name=name), timeout=10)
        except grpc.RpcError as error:
            return str(error.code().name)
        return "OK"

    found = []
    for port in (bench.system.front_port, bench.system.grpc_port):
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = GRPCInferenceServiceStub(channel)
            found += [asked(name) for name in names]
    return found


def _page(bench: Bench) -> str:
    return web.get(f"{bench.system.url}/metrics").raise_for_status().text


def _settled(bench: Bench) -> str:
    # Programs begin series when they have started, and when they do something for the first time.
    pages = [_page(bench)]

    def same() -> bool:
        pages.append(_page(bench))
        return OTHERS in pages[-1] and _series(pages[-1]) == _series(pages[-2])

    wait_for(same, "the series of unknown models, and no others", interval=1.0)
    return pages[-1]


def _series(page: str) -> set[str]:
    return {line.rpartition(" ")[0] for line in page.splitlines() if not line.startswith("#")}


def _value(page: str) -> float:
    return sum(float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(f"{OTHERS} "))


@row(
    "H11",
    f"secrets and places on {len(PAGES) + 3} pages of metrics, index, traces and console; Host: rebind.example",
)
def pages_keep_secrets(bench: Bench) -> Outcome:
    """Show no input, no token and no folder of this machine, also of broken models; a foreign Host gets 421."""
    canary, trace_id = f"canary{secrets.token_hex(8)}", secrets.token_hex(16)
    models = {
        "broken": written("broken", DESCRIPTION, BROKEN),
        "mistyped": written("mistyped", MISTYPED, BROKEN),
    }
    with guests(bench, models), bench.client() as client:
        _asked_with_secrets(client, canary, trace_id)
        _stored(bench, trace_id)
        shown = dict(_shown(client, trace_id))
        foreign = [client.get(page, headers={"Host": "rebind.example"}).status_code for page in shown]
    places = (str(CHECKOUT), str(bench.system.run_folder.parent), sys.prefix)
    secret = [page for page, text in shown.items() if canary in text]
    placed = [page for page, text in shown.items() if page != HEALTH and any(place in text for place in places)]
    found = [name for name in ("broken/1/model.py", "mistyped/model.toml:2") if name not in shown[INDEX]]
    wrong = unless(not secret, f"a secret is on {secret}") + unless(not placed, f"a folder is on {placed}")
    wrong += unless(not found and trace_id in shown["/console/api/traces"], "the control: reasons or trace missing")
    wrong += unless(set(foreign) == {421}, f"a foreign Host got {counted(foreign)}")
    there = "reasons of broken models, the request and its trace are there"
    return Outcome(
        f"no secret, no folder but the sockets' on {HEALTH}; {there}; {counted(foreign)}",
        f"{len(shown)} pages, {sum(map(len, shown.values()))} characters",
        wrong,
    )


def _asked_with_secrets(client: httpx.Client, canary: str, trace_id: str) -> None:
    names = ("Authorization", "Cookie", "X-Api-Key", "X-User-Key", "User-Agent", "baggage", "Referer")
    headers = {
        **dict.fromkeys(names, f"a={canary}"),
        "traceparent": f"00-{trace_id}-b7ad6b7169203331-01",
        "Content-Type": "application/json",
    }
    for body in (f'{{"prompt": "{canary}"}}', f'{{"prompt": "{canary}"', f'{{"features": ["{canary}"]}}'):
        client.post("/predict", params={"token": canary}, content=body, headers=headers)
    tensor = {"name": "prompt", "datatype": "BYTES", "shape": [1], "data": [canary]}
    client.post("/v2/models/sentiment/infer", json={"inputs": [tensor]}, headers=headers).raise_for_status()


def _stored(bench: Bench, trace_id: str) -> None:
    """Give the trace store what the bench's collector got of a trace: another one takes the spans here."""
    spans = bench.collector.spans
    wait_for(lambda: sum(span.trace_id.hex() == trace_id for span in spans()) >= 12, "the spans of four requests")
    resources = [resource for request in bench.collector.requests for resource in request.resource_spans]
    wanted = bytes.fromhex(trace_id)
    of_trace = [one for one in resources if any(wanted == span.trace_id for s in one.scope_spans for span in s.spans)]
    bench.system.send_spans(*of_trace)
    url = f"{bench.system.url}/console/api/traces/{trace_id}"
    wait_for(lambda: web.get(url).status_code == httpx.codes.OK, "the stored trace")


def _shown(client: httpx.Client, trace_id: str) -> Iterator[tuple[str, str]]:
    for page in (*PAGES, f"/console/api/traces/{trace_id}"):
        yield page, client.get(page).raise_for_status().text
    yield INDEX, client.post(INDEX).raise_for_status().text
    with client.stream("GET", LIVE) as stream:
        yield LIVE, next(line for line in stream.iter_lines() if line.startswith("data: "))
