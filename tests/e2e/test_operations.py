"""supervisorctl operates the running system; logs tell what happened."""

from __future__ import annotations

import os
import stat

import psutil

from tests.e2e.system import System
from tests.waiting import wait_for

PROMPT = '{"prompt": "fine"}'
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_up_says_what_to_try_next(system: System) -> None:
    """A second `up` starts nothing anew and ends with commands to copy."""
    before = system.pids("inference")
    printed = system.start()
    assert "Already running" in printed
    assert f"localhost:{system.http_port}/predict" in printed
    assert system.pids("inference") == before


def test_changed_settings_are_not_ignored(system: System) -> None:
    """`up` on a running system says when its settings are no longer the ones it was started with."""
    text = system.settings_file.read_text()
    system.settings_file.write_text(text.replace("[gateway]", "[gateway]\ndeadline = 4.5"))
    done = system.deploy("up")
    system.settings_file.write_text(text)
    assert done.returncode == 1
    assert "run `make down`, then `make up`" in done.stderr


def test_status_shows_every_program(system: System) -> None:
    """`status` lists both groups, the controller and Jaeger, wherever the run folder is."""
    shown = system.deploy("status").stdout
    for program in ("gateway:gateway-1", "inference:inference-1", "controller", "jaeger"):
        assert program in shown


def test_without_workers_predict_refuses_and_health_stays(system: System) -> None:
    """Stopped workers mean 503 within the deadline, started ones predictions again within 2 s."""
    system.control("stop", "inference:*")
    answer = system.curl("/predict", PROMPT, "-H", "X-Request-Timeout: 0.5")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert system.curl("/health").status == 200
    ready = system.curl("/ready")
    assert (ready.status, ready.body["ready"]) == (503, False)
    system.control("start", "inference:*")
    again = system.curl("/predict", PROMPT, "-H", "X-Request-Timeout: 2")
    assert again.status == 200
    system.wait_until_ready()


def test_a_killed_worker_comes_back_and_no_request_fails(system: System) -> None:
    """While one of two workers is killed and restarted every prediction is answered."""
    victim = system.pids("inference")[0]
    os.kill(victim, 9)
    wait_for(lambda: system.curl("/predict", PROMPT).status == 200 and len(system.pids("inference")) == 2, "respawn")
    assert victim not in system.pids("inference")
    system.wait_until_ready()


def test_a_rolling_restart_of_the_gateway_refuses_nobody(system: System) -> None:
    """Restarting the members one after the other leaves the port answering."""
    for member in ("gateway:gateway-0", "gateway:gateway-1"):
        system.control("restart", member)
        assert system.curl("/predict", PROMPT).status == 200


def test_both_programs_log_one_line_with_the_same_ids(system: System) -> None:
    """A request's trace id and request id stand in the gateway's line and in the worker's."""
    answer = system.curl("/predict", PROMPT, "-H", f"traceparent: {TRACEPARENT}", "-H", "X-Request-Id: order-66")
    trace_id = TRACEPARENT.split("-")[1]
    assert (answer.headers["x-trace-id"], answer.headers["x-request-id"]) == (trace_id, "order-66")
    ids = {"trace_id": trace_id, "request_id": "order-66", "model": "sentiment", "version": "1"}
    gateway = system.log_line("gateway", "request", status=200, **ids)
    worker = system.log_line("inference", "call", status="OK", **ids)
    assert gateway["milliseconds"] >= worker["milliseconds"] > 0
    assert gateway["span_id"] != worker["span_id"]


def test_everything_listens_on_loopback_only(system: System) -> None:
    """The system's TCP listeners are both doors', the trace store's and one for each worker, all on 127.0.0.1."""
    wait_for(lambda: "RUNNING" in system.control("status", "tracestore"), "the trace store")
    listeners = {
        connection.laddr
        for pid in system.processes()
        for connection in psutil.Process(pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    # grpc binds IPv4 addresses through a dual-stack socket, which shows them in their mapped form.
    found = {(address.port, address.ip.removeprefix("::ffff:")) for address in listeners}
    doors, store = (system.http_port, system.front_port), system.jaeger_ports["OTLP_GRPC"]
    ports = (*doors, store, system.grpc_port, system.grpc_port + 1)
    expected = {(port, "127.0.0.1") for port in ports}
    assert found == expected


def test_no_other_user_can_reach_a_socket_or_a_log(system: System) -> None:
    """Run folder, sockets and logs give group and others nothing."""
    paths = [system.run_folder, *system.run_folder.rglob("*")]
    assert len(paths) > 6
    assert [path for path in paths if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


def test_every_log_line_is_json_and_short(system: System) -> None:
    """Whatever was logged so far parses and fits into 4096 bytes."""
    assert len(system.log_lines("gateway")) + len(system.log_lines("inference")) > 10
    for file in (system.run_folder / "logs").glob("[cgit]*.log"):
        assert max(len(line) for line in file.read_bytes().splitlines()) <= 4096


def test_down_and_up_again(system: System) -> None:
    """`down` leaves no process, and `up` brings the system back."""
    down = system.deploy("down")
    assert down.returncode == 0
    assert system.processes() == []
    system.start()
    assert system.curl("/predict", PROMPT).status == 200
