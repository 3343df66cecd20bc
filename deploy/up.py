"""The verbs of `python -m deploy`: the whole system on, off, and looked at."""

from __future__ import annotations

import http.client
import json
import os
import select
import shutil
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from deploy.exits_report import exits_report
from deploy.orphans import end_orphans
from deploy.supervisor import Supervisor
from inference_core.errors import ConfigurationError
from inference_core.settings import Settings
from otel.lives import recorded
from otel.metrics import FOLDER

READY_SECONDS = 60.0
DOWN_SECONDS = 60.0
ORPHAN_SECONDS = 10.0  # what a worker that was told to stop needs at most
POLL_SECONDS = 0.05
LOOK_SECONDS = 1.0  # supervisorctl takes a processor from what starts
TAIL_LINES = 5
TAIL_COLUMNS = 300
RUNS_ON = "What was started goes on running; see make logs, and stop it with make down."


def up(settings: Settings, say: Callable[[str], None] = print) -> None:
    """Start supervisord, wait until the gateway can answer predictions, and say what to try next.

    Raises ConfigurationError with the reasons and the last log lines when that does not happen.
    """
    began = time.monotonic()
    supervisor = Supervisor(settings)
    if supervisor.is_running():
        _check_unchanged(settings)
        say("Already running; starting what is stopped.")
        supervisor.control("start", "controller", "inference:*", "gateway:*")
    else:
        _make_folders(settings)
        end_orphans(settings.run_folder, ORPHAN_SECONDS, say)
        _check_ports(settings)
        _stamp(settings).write_bytes(msgspec.json.encode(settings))
        say(f"Starting {settings.gateway.processes} gateway processes and {settings.inference.workers} workers ...")
        started = supervisor.start()
        if started.returncode:
            raise ConfigurationError(f"supervisord did not start: {(started.stderr or started.stdout).strip()}")
    _wait_until_ready(settings, supervisor)
    say(f"Ready after {time.monotonic() - began:.1f} s.")
    say(_next_steps(settings))


def down(settings: Settings, say: Callable[[str], None] = print) -> None:
    """Stop everything and wait until supervisord has left."""
    supervisor = Supervisor(settings)
    pid = supervisor.control("pid").stdout.strip()
    if not pid.isdecimal():
        say("Not running.")
        return
    say("Stopping: running requests end first ...")
    # Not by the pid file, which supervisord removes some time before it is gone, nor by its folder in /proc: where the
    # machine's first process is slow to reap, that stays for seconds after the end.
    supervisord = os.pidfd_open(int(pid))
    try:
        supervisor.control("shutdown")
        has_ended, _, _ = select.select([supervisord], [], [], DOWN_SECONDS)
    finally:
        os.close(supervisord)
    if not has_ended:
        raise ConfigurationError(f"supervisord (pid {pid}) is still stopping; see make logs.")
    say("Stopped.")


def status(settings: Settings, say: Callable[[str], None] = print) -> None:
    """Say what runs, as supervisorctl does, and which programs ended lately."""
    supervisor = Supervisor(settings)
    say(supervisor.control("status").stdout.strip() if supervisor.is_running() else "Not running; start with make up.")
    for line in exits_report(recorded(settings.run_folder), time.time()):
        say(line)


def _stamp(settings: Settings) -> Path:
    return settings.run_folder / "settings.json"


def _check_unchanged(settings: Settings) -> None:
    stamp = _stamp(settings)
    if not stamp.exists() or stamp.read_bytes() != msgspec.json.encode(settings):
        raise ConfigurationError("The settings changed since the start; run `make down`, then `make up`.")


def _make_folders(settings: Settings) -> None:
    # Counters of a former run would go on from where they ended.
    shutil.rmtree(settings.run_folder / FOLDER, ignore_errors=True)
    names = ("logs", "jaeger", FOLDER) if settings.telemetry.metrics else ("logs", "jaeger")
    for folder in (settings.run_folder, *(settings.run_folder / name for name in names)):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"The run folder {folder} cannot be made: {error.strerror}.") from error


def _check_ports(settings: Settings) -> None:
    inference = settings.inference
    gateway = settings.gateway
    addresses = [("gateway.port", gateway.host, gateway.port), ("gateway.grpc_port", gateway.host, gateway.grpc_port)]
    addresses += [("inference.port", inference.host, inference.port + slot) for slot in range(inference.workers)]
    _check_different(addresses)
    for key, host, port in addresses:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise ConfigurationError(
                    f"{host}:{port} cannot be used ({error.strerror}). See who has it with `ss -tanp`, "
                    f"or set another {key} in the settings."
                ) from error


def _check_different(addresses: Sequence[tuple[str, str, int]]) -> None:
    keys: dict[int, str] = {}
    for key, _, port in addresses:
        other = keys.setdefault(port, key)
        if other != key:
            raise ConfigurationError(f"{other} and {key} both need port {port}; choose another one in the settings.")


def _wait_until_ready(settings: Settings, supervisor: Supervisor) -> None:
    deadline = time.monotonic() + READY_SECONDS
    reasons = ["the gateway does not answer yet"]
    look_at = gives_up_at = time.monotonic() + LOOK_SECONDS
    while time.monotonic() < deadline:
        ready, waits, reasons = _ready(settings)
        if ready and not waits:
            return
        if waits:
            gives_up_at = time.monotonic() + LOOK_SECONDS
        elif time.monotonic() > gives_up_at:
            break  # nothing is under way that could change this
        if time.monotonic() > look_at:
            if "FATAL" in supervisor.control("status", "gateway:*", "inference:*").stdout:
                break
            look_at = time.monotonic() + LOOK_SECONDS
        time.sleep(POLL_SECONDS)
    status = supervisor.control("status").stdout
    told = ["Not ready: " + "; ".join(reasons), status, *_log_tails(settings), RUNS_ON]
    raise ConfigurationError("\n".join(told))


def _ready(settings: Settings) -> tuple[bool, bool, list[str]]:
    # Whether predictions are answered, whether something is under way that is worth waiting for, and what is missing.
    connection = http.client.HTTPConnection(settings.gateway.host, settings.gateway.port, timeout=2)
    try:
        connection.request("GET", "/ready", headers={"Host": settings.gateway.allowed_hosts[0]})
        report = json.loads(connection.getresponse().read())
    except (OSError, ValueError, http.client.HTTPException) as error:
        return False, True, [f"the gateway does not answer: {error}"]
    finally:
        connection.close()
    reasons: list[str] = report.get("reasons", [])
    # What is broken or unloaded keeps nothing else from its work; a worker that still loads is worth waiting for.
    waits = any("does not answer" in reason or " is LOADING" in reason for reason in reasons)
    return bool(report.get("ready")), waits, reasons or [str(report)]


def _log_tails(settings: Settings) -> list[str]:
    lines: list[str] = []
    for file in sorted((settings.run_folder / "logs").glob("*.log")):
        tail = file.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        lines += [f"{file.name}: {line[:TAIL_COLUMNS]}" for line in tail]
    return lines


def _next_steps(settings: Settings) -> str:
    control = Path(sys.executable).parent / "supervisorctl"
    base = f"http://localhost:{settings.gateway.port}"
    return f"""
Try next:
  curl -s {base}/predict -H 'Content-Type: application/json' -d '{{"prompt": "What a wonderful day"}}'
  curl -s {base}/predict -H 'Content-Type: application/json' -d @model_service/models/digits/example.json
  curl -s {base}/ready
  open {base}/console to try models and watch the machine, {base}/docs for every path
  grpcurl -plaintext localhost:{settings.gateway.grpc_port} list
  grpcurl -plaintext localhost:{settings.inference.port} list     # worker 0 alone
  {control} -s unix://{settings.run_folder}/supervisor.sock status
  make logs        make down"""
