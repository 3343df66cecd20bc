"""The whole system as a user starts it, on free ports and in a folder of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, TracesData

from deploy.trial import free_ports
from inference_core.settings import CHECKOUT
from otel.store.query import StoredTraces
from otel.store.sending import send
from tests import web
from tests.waiting import wait_for

JAEGER_PORTS = ("UI", "QUERY_GRPC", "OTLP_GRPC", "OTLP_HTTP", "HEALTH")


@dataclass(frozen=True)
class Answer:
    """What curl got."""

    status: int
    headers: Mapping[str, str]
    body: Any


class System:
    """A running InferenceHub; `start` returns when it answers, `stop` leaves no process behind.

    `grpc_port` is that of worker 0, `front_port` the gateway's.
    """

    def __init__(self, folder: Path, **settings: Mapping[str, Any]) -> None:
        ports = free_ports(4 + len(JAEGER_PORTS))
        self.http_port, self.grpc_port = ports[0], ports[1]
        self.front_port = ports[3]
        self.jaeger_ports = dict(zip(JAEGER_PORTS, ports[4:], strict=True))
        self.run_folder = folder / "run"
        self.url = f"http://127.0.0.1:{self.http_port}"
        self.settings_file = folder / "settings.toml"
        self.settings_file.write_text(_toml(self._settings(settings)))
        self.environment = {
            **os.environ,
            "INFERENCEHUB_SETTINGS": str(self.settings_file),
            **{f"JAEGER_{name}_PORT": str(port) for name, port in self.jaeger_ports.items()},
        }

    def _settings(self, extra: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        endpoint = f"http://127.0.0.1:{self.jaeger_ports['OTLP_GRPC']}"
        base: dict[str, dict[str, Any]] = {
            "gateway": {"port": self.http_port, "grpc_port": self.front_port},
            "inference": {"port": self.grpc_port, "mock_latency": 0.05},
            "telemetry": {"otlp_endpoint": endpoint},
            "tracestore": {"port": self.jaeger_ports["OTLP_GRPC"]},
            "layout": {"run_folder": str(self.run_folder)},
        }
        return {section: {**base.get(section, {}), **extra.get(section, {})} for section in {**base, **extra}}

    def start(self) -> str:
        """Start everything and return what `up` printed."""
        done = self.deploy("up")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self) -> None:
        """Stop everything; whatever is left after that is killed by pid."""
        done = self.deploy("down")
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        assert done.returncode == 0, done.stderr

    def deploy(self, verb: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m deploy VERB` for this system."""
        return self.run(sys.executable, "-m", "deploy", verb)

    def control(self, *arguments: str) -> str:
        """Run supervisorctl for this system and return what it printed."""
        program = Path(sys.executable).parent / "supervisorctl"
        return self.run(str(program), "-s", f"unix://{self.run_folder}/supervisor.sock", *arguments).stdout

    def send_spans(self, *resources: ResourceSpans) -> None:
        """Send spans to what takes them, as an exporter does."""
        send(TracesData(resource_spans=resources), f"127.0.0.1:{self.jaeger_ports['OTLP_GRPC']}")

    def stored(self) -> StoredTraces:
        """Open what the system's own store has kept."""
        return StoredTraces(self.run_folder / "traces.sqlite")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the checkout, in this system's environment."""
        return subprocess.run(
            command, cwd=CHECKOUT, env=self.environment, capture_output=True, text=True, timeout=100, check=False
        )

    def curl(self, path: str, body: str | None = None, *options: str) -> Answer:
        """Ask the gateway with the real curl, JSON in and out."""
        data = () if body is None else ("-H", "Content-Type: application/json", "--data-binary", body)
        write = ("-w", '\n{"status": %{http_code}, "headers": %{header_json}}')
        done = self.run("curl", "-sS", *write, *data, *options, f"{self.url}{path}")
        assert done.returncode == 0, done.stderr
        text, _, report = done.stdout.rpartition('\n{"status"')
        parsed = json.loads('{"status"' + report)
        headers = {name: values[0] for name, values in parsed["headers"].items()}
        return Answer(parsed["status"], headers, json.loads(text))

    def processes(self) -> list[int]:
        """Return the pids of every process that was started for these settings."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("INFERENCEHUB_SETTINGS") == str(self.settings_file):
                    found.append(process.pid)
            except psutil.Error:
                continue
        return found

    def pids(self, group: str) -> list[int]:
        """Return the pids that supervisord has for a group."""
        # `status` has no pid for a program that has not yet run for its startsecs; `pid` says 0 for one that is down.
        names = [line.split()[0] for line in self.control("status", f"{group}:*").splitlines()]
        return [pid for word in self.control("pid", *names).split() if (pid := int(word))]

    def log_lines(self, program: str) -> list[dict[str, Any]]:
        """Return every log line of a program's members as parsed JSON."""
        files = sorted((self.run_folder / "logs").glob(f"{program}-*.log"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def log_line(self, program: str, event: str, **fields: Any) -> dict[str, Any]:
        """Return the one log line that has these fields, waiting for it."""

        def find() -> list[dict[str, Any]]:
            wanted = {"event": event, **fields}
            return [line for line in self.log_lines(program) if wanted.items() <= line.items()]

        return wait_for(find, f"a line {event} {fields} of {program}")[0]

    def wait_until_ready(self) -> None:
        """Wait until every worker answers for every model."""
        wait_for(lambda: web.get(f"{self.url}/ready").json()["reasons"] == [], "every worker ready")


def _toml(document: Mapping[str, Mapping[str, Any]]) -> str:
    return "".join(_section(name, values) for name, values in document.items())


def _section(name: str, values: Mapping[str, Any]) -> str:
    # JSON's strings, numbers, booleans and arrays are TOML's too.
    lines: Iterable[str] = (f"{key} = {json.dumps(value)}\n" for key, value in values.items())
    return f"[{name}]\n{''.join(lines)}"
