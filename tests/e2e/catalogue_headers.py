"""Rows H01 to H07: trace context, baggage, request ids, log injection and secrets."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from inference_core.settings import CHECKOUT
from tests import web
from tests.e2e.catalogue_bench import Bench, counted, row, unless
from tests.e2e.outcome import Outcome
from tests.gateway.http_vectors import HOST, exchange, statuses_in
from tests.otel.collector import Collector
from tests.waiting import wait_for

LINE_LIMIT = 4096
ID = re.compile(r"[0-9a-f]{32}")
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
MALFORMED = (
    "",
    "junk",
    f"00-{TRACE}-{CALLER}",
    f"00-{TRACE.upper()}-{CALLER}-01",
    f"00-{'0' * 32}-{CALLER}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"ff-{TRACE}-{CALLER}-01",
    f"00-{TRACE}-{CALLER}-01-extra",
    f"00-{TRACE}-{CALLER}-01%0d%0aX: y",
    f"00-{TRACE}-{CALLER}-0g",
    "0" * 30_000,
)
INJECTED = '"},{"event": "injected'
FORGED = (
    'x"}\n{"event": "injected"}',
    "\x1b[2J",
    "\u2028",
    "\x85",
    "%0a{}",
    "${jndi:ldap://x}",
    INJECTED,
    "\xe9" * 5000,
)


def _traceparent(trace_id: str, flags: str) -> str:
    return f"00-{trace_id}-{CALLER}-{flags}"


def _spans(bench: Bench, trace_id: str) -> list[Span]:
    return [span for span in bench.collector.spans() if span.trace_id.hex() == trace_id]


@row("H01", "traceparent malformed, upper case, zero, of version ff, too long, twice, with a line break")
def malformed_traceparents(bench: Bench) -> Outcome:
    """Begin a new trace, and harm no request; a raw line break is no HTTP."""
    sound = _traceparent(TRACE, "01")
    offers = [[("traceparent", value)] for value in MALFORMED]
    offers += [[("traceparent", sound), ("traceparent", _traceparent("1" * 32, "01"))]]
    with bench.client() as client:
        answers = [client.get("/health", headers=offer) for offer in offers]
    kept = [answer for answer in answers if answer.headers["x-trace-id"] in {TRACE, TRACE.upper(), "1" * 32, "0" * 32}]
    head = b"GET /health HTTP/1.1\r\n" + HOST
    broken, _ = exchange(bench.address, head + b"traceparent: 00-\rx\r\n\r\n", 10)
    large, _ = exchange(bench.address, head + b"traceparent: " + b"0" * 100_000 + b"\r\n\r\n", 10)
    wrong = unless({answer.status_code for answer in answers} == {200}, "a request failed")
    wrong += unless(not kept, f"{len(kept)} were believed")
    wrong += unless((statuses_in(broken), statuses_in(large)) == ([400], [431]), "line break or 100 kB")
    return Outcome(f"{len(offers)} x 200 with a new trace; raw CR 400; 100 kB 431", wrong=wrong)


@row("H02", "sampled = 1 and 0 from outside, trusted and not")
def sampled_flags(bench: Bench) -> Outcome:
    """With trust_sampled_flag the caller decides; without it our ratio does, here 0."""
    wanted, unwanted, stranger = (secrets.token_hex(16) for _ in range(3))
    with bench.client() as client:
        for trace_id, flags in ((unwanted, "00"), (wanted, "01")):
            client.get("/health", headers={"traceparent": _traceparent(trace_id, flags)})
    wait_for(lambda: _spans(bench, wanted), "the sampled span")
    wrong = unless(not _spans(bench, unwanted), "sampled = 0 was recorded")
    recorded = _recorded_untrusted(bench, stranger)
    wrong += unless(not recorded, f"{recorded} spans were recorded against the setting")
    return Outcome("trusted: 1 recorded, 0 not; not trusted, ratio 0: 1 not recorded", wrong=wrong)


def _recorded_untrusted(bench: Bench, trace_id: str) -> int:
    collector = Collector()
    settings = bench.system.run_folder.parent / "untrusted.toml"
    keep_none = "sample_ratio = 0.0\ntraces_per_second = 0.0\ntrust_sampled_flag = false\n"
    telemetry = f'otlp_endpoint = "{collector.endpoint}"\n{keep_none}'
    settings.write_text(f'[telemetry]\n{telemetry}[layout]\nrun_folder = "{settings.parent}/untrusted"\n')
    try:
        _ask_a_gateway_alone(settings, {"traceparent": _traceparent(trace_id, "01")})
        return len(collector.spans())
    finally:
        collector.close()


def _ask_a_gateway_alone(settings: Path, headers: dict[str, str]) -> None:
    """Run one gateway process with those settings for one request, and stop it in order, which flushes its spans."""
    program = [str(Path(sys.executable).parent / "gunicorn"), "-c", "gateway/gunicorn_conf.py", "gateway.asgi:app"]
    environment = {**os.environ, "INFERENCEHUB_SETTINGS": str(settings)}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/health"
        log = settings.with_suffix(".log").open("wb")
        gateway = subprocess.Popen(
            program, stdin=listener.fileno(), stdout=log, stderr=log, cwd=CHECKOUT, env=environment
        )
        try:
            web.get(url, headers=headers, timeout=20).raise_for_status()
        finally:
            gateway.send_signal(signal.SIGTERM)
            gateway.wait(20)
            log.close()


@row("H03", "tracestate of 200 members, and of 100 kB")
def large_tracestates(bench: Bench) -> Outcome:
    """Drop it, while the trace goes on."""
    trace_id = secrets.token_hex(16)
    state = ",".join(f"member{number}=x" for number in range(200))
    with bench.client() as client:
        headers = {"traceparent": _traceparent(trace_id, "01"), "tracestate": state}
        status = client.get("/health", headers=headers).status_code
    span = wait_for(lambda: _spans(bench, trace_id), "the span")[0]
    head = b"GET /health HTTP/1.1\r\n" + HOST + b"tracestate: a=" + b"x" * 100_000
    large, _ = exchange(bench.address, head + b"\r\n\r\n", 10)
    wrong = unless((status, span.trace_state) == (200, ""), "200 members were kept")
    wrong += unless(statuses_in(large) == [431], "100 kB were read")
    return Outcome("200 members: dropped, same trace, 200; 100 kB: 431", wrong=wrong)


@row("H04", "baggage with an encoded line break, of 7 kB, of 10 kB")
def baggage(bench: Bench) -> Outcome:
    """Remove it at the border: logs and spans of the gateway and of the worker behind it do not know it."""
    canary, trace_id = secrets.token_hex(8), secrets.token_hex(16)
    values = (f"a={canary}%0d%0aX", f"a={canary * 440}", f"a={canary * 630}")
    with bench.client() as client:
        for value in values:
            headers = {"baggage": value, "traceparent": _traceparent(trace_id, "01")}
            client.post("/predict", json={"prompt": "fine"}, headers=headers).raise_for_status()
    wait_for(lambda: len(_spans(bench, trace_id)) == 7 * len(values), "the spans of three requests")
    wrong = unless(not _found(bench, canary), "baggage was kept")
    return Outcome("200; not in any log or span", wrong=wrong)


@row("H05", "x-request-id of 10 kB, with quotes, ESC, Latin-1, empty, twice; and a good one")
def request_ids(bench: Bench) -> Outcome:
    """Only a good one is kept and echoed."""
    refused = ["a" * 10_000, "a" * 65, '"},{"level":"x', "caf\xe9", "", "a b", "a;b", "<b>", "../x", "a\tb"]
    with bench.client() as client:
        answers = [client.get("/health", headers=[(b"x-request-id", text.encode("latin-1"))]) for text in refused]
        answers.append(client.get("/health", headers=[("x-request-id", "one"), ("x-request-id", "two")]))
        good = client.get("/health", headers={"x-request-id": "order-66"})
    own = [answer for answer in answers if answer.is_success and ID.fullmatch(answer.headers["x-request-id"])]
    escape, _ = exchange(bench.address, b"GET /health HTTP/1.1\r\n" + HOST + b"x-request-id: \x1b[2J\r\n\r\n", 10)
    wrong = unless(len(own) == len(answers), f"{len(answers) - len(own)} were echoed")
    wrong += unless(good.headers["x-request-id"] == "order-66" and statuses_in(escape) == [400], "good one or ESC")
    return Outcome(f"{len(own)} replaced by our own; the good one echoed; ESC 400", wrong=wrong)


@row("H06", "log lines forged through model_name, prompt, field name, User-Agent, traceparent, path, query, method")
def log_injection(bench: Bench) -> Outcome:
    """Every log line stays one short JSON object of ours."""
    before = set(bench.log_lines())  # libraries of broken models write lines of their own
    statuses = [status for text in FORGED for status in _forge(bench, text)]
    lines = [line for line in bench.log_lines() if line not in before]
    events = [json.loads(line) for line in lines]
    longest = max(map(len, lines))
    raw = [line for line in lines if re.search(rb"[\x00-\x1f\x7f-\xff]", line)]
    wrong = unless(not [event for event in events if event.get("event") == "injected"], "a line was forged")
    wrong += unless(not raw, f"{len(raw)} lines hold raw control characters") + unless(
        longest <= LINE_LIMIT, "too long"
    )
    return Outcome(counted(statuses), f"{len(lines)} lines, all parse, longest {longest} B", wrong)


def _forge(bench: Bench, text: str) -> list[int]:
    data = text.encode()
    folded = data.replace(b"\n", b" ").replace(b"\x1b", b" ")
    heads = (
        b"GET /" + data + b" HTTP/1.1\r\n" + HOST,
        b"GET /health?" + data + b" HTTP/1.1\r\n" + HOST,
        data + b" /health HTTP/1.1\r\n" + HOST,
        b"GET /health HTTP/1.1\r\n" + HOST + b"User-Agent: " + folded + b"\r\ntraceparent: " + folded + b"\r\n",
    )
    received = [exchange(bench.address, head + b"Connection: close\r\n\r\n", 10)[0] for head in heads]
    bodies = ({"prompt": text}, {"prompt": "x", "model_name": text}, {"prompt": "x", text: 1})
    with bench.client() as client:
        answers = [client.post("/predict", json=body).status_code for body in bodies]
    return [status for answer in received for status in statuses_in(answer)] + answers


@row("H07", "secrets in Authorization, Cookie, X-Api-Key, query, prompt, and in bodies that are refused")
def secrets_stay_secret(bench: Bench) -> Outcome:
    """They are in no log, no span and no process's arguments."""
    canary, trace_id = f"canary{secrets.token_hex(8)}", secrets.token_hex(16)
    names = {"Authorization": f"Bearer {canary}", "Cookie": f"session={canary}", "X-Api-Key": canary}
    headers = {**names, "Content-Type": "application/json", "traceparent": _traceparent(trace_id, "01")}
    good = b'{"prompt": "%b"}' % canary.encode()
    bodies = (good, good[:-1], b'{"features": ["%b"]}' % canary.encode(), b'{"%b": 1}' % canary.encode())
    with bench.client() as client:
        for body in bodies:
            client.post("/predict", params={"token": canary}, content=body, headers=headers)
        control = secrets.token_hex(8)
        client.get(f"/{control}", params={"token": canary}, headers=headers)
    wait_for(lambda: len(_spans(bench, trace_id)) == 7 + len(bodies), "the spans of five requests")
    wait_for(lambda: _found(bench, control), "the path, which spans do keep, so that the search is known to find")
    commands = [command for command in _commands() if canary in command]
    wrong = unless(not _found(bench, canary), "in logs or spans") + unless(not commands, "in arguments")
    searched = f"{len(bench.log_lines())} lines, {len(bench.collector.spans())} spans"
    return Outcome(
        "found nowhere; a control that is recorded was found", f"{searched}, {len(_commands())} processes", wrong
    )


def _found(bench: Bench, canary: str) -> bool:
    exported = b"".join(request.SerializeToString() for request in bench.collector.requests)
    return canary.encode() in exported + bench.logged()


def _commands() -> list[str]:
    own = os.getpid()
    return [
        " ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]) if process.pid != own
    ]
