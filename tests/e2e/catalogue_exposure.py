"""Rows F09 to F12 and I01 to I03: who can reach what."""

from __future__ import annotations

import configparser
import errno
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import psutil

from inference_core.settings import CHECKOUT
from tests.e2e.catalogue_bench import Bench, counted, row, unless
from tests.e2e.outcome import Outcome
from tests.gateway.http_vectors import exchange, statuses_in
from tests.tools import tool
from tests.waiting import wait_for

NOBODY = 65534
PRIVATE = 0o077
CANNOT_START = 3
SERVICES = {"ModelInference", "grpc.health.v1.Health", "inference.GRPCInferenceService"}
VERBS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND")
PATHS = ("/", "/predict", "/health", "/ready", "/none", "/metrics", "*", "http://rebind.example/predict")
REACH = """
import os, socket, sys
os.setgroups([])
os.setresgid(*[int(sys.argv[1])] * 3)
os.setresuid(*[int(sys.argv[1])] * 3)
for path in sys.argv[2:]:
    print(socket.socket(socket.AF_UNIX).connect_ex(path))
"""


@row("F09", "grpcurl: reflection and health, on by default")
def reflection_and_health(bench: Bench) -> Outcome:
    """Both work on loopback."""
    program, address = str(tool("grpcurl")), f"127.0.0.1:{bench.system.grpc_port}"
    listed = set(bench.system.run(program, "-plaintext", address, "list").stdout.split())
    health = bench.system.run(program, "-plaintext", address, "grpc.health.v1.Health/Check").stdout
    wrong = unless(listed >= SERVICES, f"listed {listed}") + unless('"SERVING"' in health, "no health")
    return Outcome(f"{len(listed)} services listed; health SERVING", wrong=wrong)


@row("F10", "inference.host and gateway.host = 0.0.0.0, without allow_remote")
def bound_to_every_address(bench: Bench) -> Outcome:
    """`up` and the worker refuse to start, with a sentence."""
    up = [_started(bench, section, "-m", "deploy", "up") for section in ("inference", "gateway")]
    worker = _started(bench, "inference", "-m", "model_service", "0")
    codes = [done.returncode for done in (*up, worker)]
    wrong = unless(codes == [1, 1, CANNOT_START], "wrong exit codes")
    sentence = "not a loopback address"
    wrong += unless(all(sentence in done.stderr + done.stdout for done in (*up, worker)), "no sentence")
    return Outcome(f"refused: `{up[0].stderr.strip().partition('.toml: ')[2]}`", f"exit codes {codes}", wrong)


def _started(bench: Bench, section: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    folder = bench.system.run_folder.parent
    settings = folder / f"{section}-everywhere.toml"
    settings.write_text(f'[{section}]\nhost = "0.0.0.0"\n[layout]\nrun_folder = "{folder}/everywhere"\n')
    variable = f"INFERENCEHUB_SETTINGS={settings}"
    return bench.system.run("env", variable, sys.executable, *arguments)


@row("F11", "a second worker for a slot that is taken")
def second_worker(bench: Bench) -> Outcome:
    """Leave; the first keeps its sockets and goes on serving."""
    path = bench.system.run_folder / "inference-0.sock"
    before = (path.stat().st_ino, bench.system.pids("inference"))
    second = bench.system.run(sys.executable, "-m", "model_service", "0")
    after = (path.stat().st_ino, bench.system.pids("inference"))
    with bench.client() as client:
        statuses = [client.post("/predict", json={"prompt": "fine"}).status_code for _ in range(10)]
    wrong = unless(second.returncode == CANNOT_START and "Another worker holds" in second.stdout, "it stayed")
    wrong += unless(before == after and set(statuses) == {200}, "the first was harmed")
    return Outcome(f"the second left; the first answered {counted(statuses)}", f"exit code {second.returncode}", wrong)


@row("F12", "modes of the run folder and its sockets; another user connects")
def sockets_of_others(bench: Bench) -> Outcome:
    """Nothing for group and others; EACCES for another user, whom a socket with open modes lets in."""
    folder = bench.system.run_folder
    sockets = [path for path in folder.iterdir() if path.is_socket()]
    open_to_others = [path.name for path in (folder, *sockets) if stat.S_IMODE(path.stat().st_mode) & PRIVATE]
    wrong = unless(len(sockets) >= 3 and not open_to_others, f"open to others: {open_to_others}")
    if os.getuid():
        return Outcome("modes are private; not tried as another user, which needs root", wrong=wrong)
    *refused, control = _reached_by_nobody(sockets, folder.parent / "control.sock")
    wrong += unless(set(refused) == {"EACCES"}, f"another user got {refused}")
    wrong += unless(control == "connected", f"the control got {control}")
    return Outcome(
        f"{len(sockets)} sockets: private modes; uid {NOBODY} gets {refused[0]}, control connects", wrong=wrong
    )


def _reached_by_nobody(sockets: list[Path], control: Path) -> list[str]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(control))
        listener.listen()
        control.chmod(0o777)
        command = [sys.executable, "-c", REACH, str(NOBODY), *map(str, sockets), str(control)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [errno.errorcode.get(int(number), "connected") for number in done.stdout.split()]


@row("I01", "every TCP listener of every process")
def listeners(bench: Bench) -> Outcome:
    """Listen on the ports of both doors, the trace store and each worker only, all on 127.0.0.1."""
    wait_for(lambda: "RUNNING" in bench.system.control("status", "tracestore"), "the trace store")
    found = {
        (connection.laddr.port, connection.laddr.ip.removeprefix("::ffff:"))
        for pid in bench.system.processes()
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status in {psutil.CONN_LISTEN, psutil.CONN_NONE}
    }
    system = bench.system
    doors, store = (system.http_port, system.front_port), system.jaeger_ports["OTLP_GRPC"]
    ports = (*doors, store, system.grpc_port, system.grpc_port + 1)
    wrong = unless(found == {(port, "127.0.0.1") for port in ports}, f"found {sorted(found)}")
    return Outcome(
        "exactly five, on 127.0.0.1: both doors, trace store, worker 0, worker 1; no UDP",
        f"{len(found)} listeners",
        wrong,
    )


@row("I02", "supervisord: inet_http_server, and its socket's mode")
def supervisor(bench: Bench) -> Outcome:
    """There is no inet server in the configuration; the socket is for its owner alone."""
    configuration = configparser.RawConfigParser(inline_comment_prefixes=(";",))
    configuration.read(CHECKOUT / "supervisord.conf")
    mode = stat.S_IMODE((bench.system.run_folder / "supervisor.sock").stat().st_mode)
    wrong = unless("inet_http_server" not in configuration, "inet_http_server is set")
    wrong += unless(configuration["unix_http_server"]["chmod"] == "0700" and mode == 0o700, f"mode {mode:o}")
    return Outcome(
        "no inet_http_server; a start-up check is not offered, this row is the check", f"socket {mode:o}", wrong
    )


@row("I03", "Host: rebind.example on every path with every verb")
def rebinding(bench: Bench) -> Outcome:
    """421, or 400 or 405 where path or verb is refused first; no resource answers."""
    statuses = []
    for verb in VERBS:
        for path in PATHS:
            head = f"{verb} {path} HTTP/1.1\r\nHost: rebind.example:{bench.system.http_port}\r\n\r\n".encode()
            received, _ = exchange(bench.address, head, 10)
            statuses += statuses_in(received)
    wrong = unless(len(statuses) == len(VERBS) * len(PATHS), "an answer is missing")
    wrong += unless(set(statuses) <= {400, 405, 421}, "a resource answered")
    return Outcome(counted(statuses), wrong=wrong)
