"""supervisord.conf as supervisord itself reads it, held against the settings."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from supervisor.loggers import LevelsByName
from supervisor.options import ClientOptions, ServerOptions

from deploy.controller.__main__ import LOG_BACKUPS
from deploy.environment import CONFIGURATION, environment
from gateway import gunicorn_conf
from inference_core.settings import CHECKOUT, Inference, Settings
from otel.store import serving
from otel.tracing import STOP_SECONDS

LONGEST_COMPUTATION = 1.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return the default settings with another folder and more workers than the default."""
    base = msgspec.convert({"layout": {"run_folder": str(tmp_path / "run")}}, Settings)
    return msgspec.structs.replace(base, inference=Inference(workers=5))


@pytest.fixture
def options(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return the real file, parsed by supervisor."""
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    (settings.run_folder / "logs").mkdir(parents=True)
    parsed = ServerOptions()
    parsed.realize(["-c", str(CONFIGURATION)])
    yield parsed
    parsed.close_logger() if hasattr(parsed, "logger") else None


@pytest.fixture
def groups(options: Any) -> dict[str, Any]:
    """Return its process groups by name."""
    return {group.name: group for group in options.process_group_configs}


def test_the_programs_are_the_expected_ones(groups: dict[str, Any]) -> None:
    """All programs start by themselves, but for Jaeger, which takes the trace store's place only when asked."""
    assert set(groups) == {"controller", "gateway", "inference", "jaeger", "tracestore"}
    started = {name: {process.autostart for process in group.process_configs} for name, group in groups.items()}
    assert {name for name, values in started.items() if values == {False}} == {"jaeger"}


def test_numbers_come_from_the_settings(groups: dict[str, Any], settings: Settings) -> None:
    """There are as many gateway members and inference slots as the settings say, slots from 0."""
    assert len(groups["gateway"].process_configs) == settings.gateway.processes
    commands = [process.command for process in groups["inference"].process_configs]
    assert [command.rsplit(" ", 1)[1] for command in commands] == ["0", "1", "2", "3", "4"]


def test_the_gateway_shares_one_supervised_loopback_socket(groups: dict[str, Any], settings: Settings) -> None:
    """Both members accept from the socket that the settings name."""
    assert groups["gateway"].socket_config.url == f"tcp://{settings.gateway.host}:{settings.gateway.port}"
    assert gunicorn_conf.bind == "fd://0"


def test_supervisord_listens_on_one_private_socket(options: Any, settings: Settings) -> None:
    """There is no inet_http_server, and the control socket is for its owner alone."""
    assert [server["file"] for server in options.server_configs] == [str(settings.run_folder / "supervisor.sock")]
    assert options.server_configs[0]["chmod"] == 0o700
    assert options.umask == 0o077


def test_every_program_restarts_and_rotates_its_log(groups: dict[str, Any]) -> None:
    """No program stays down after a crash, fills the disk, or shares a log file."""
    processes = [process for group in groups.values() for process in group.process_configs]
    files = [process.stdout_logfile for process in processes]
    assert len(set(files)) == len(files)
    for process in processes:
        assert process.autorestart is not False
        assert process.stdout_logfile_maxbytes > 0
        assert process.redirect_stderr
        assert process.stopsignal == signal.SIGTERM
        assert process.command.startswith("setpriv --pdeathsig TERM -- ")


def test_a_stop_waits_longer_than_the_longest_drain(groups: dict[str, Any], settings: Settings) -> None:
    """Supervisord never kills a program that is still draining as its settings allow."""
    inference = settings.inference
    worker = inference.drain_pause + inference.drain_grace + LONGEST_COMPUTATION + STOP_SECONDS
    assert groups["inference"].process_configs[0].stopwaitsecs > worker
    assert groups["gateway"].process_configs[0].stopwaitsecs > gunicorn_conf.graceful_timeout + STOP_SECONDS
    store = serving.STOP_SECONDS + serving.WRITE_SECONDS
    assert groups["tracestore"].process_configs[0].stopwaitsecs > store


def test_a_bare_supervisorctl_finds_the_default_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """`supervisorctl` in the checkout needs neither options nor environment."""
    for name in [name for name in os.environ if name.startswith("INFERENCEHUB_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(CHECKOUT)
    client = ClientOptions()
    client.realize(["status"])
    assert client.serverurl == f"unix://{Settings().run_folder}/supervisor.sock"


def test_the_arbiters_settings_touch_neither_grpc_nor_spans() -> None:
    """What gunicorn's arbiter loads before it forks constructs nothing that a fork breaks."""
    source = (CHECKOUT / "gateway" / "gunicorn_conf.py").read_text()
    assert "import grpc" not in source
    assert "opentelemetry" not in source
    assert gunicorn_conf.preload_app is False


def test_the_log_has_what_the_controller_reads(options: Any, settings: Settings) -> None:
    """Supervisord writes starts and ends to the file that the controller follows, with the backups it looks for."""
    assert options.loglevel <= LevelsByName.INFO
    assert options.logfile == str(settings.run_folder / "logs" / "supervisord.log")
    assert options.logfile_backups == LOG_BACKUPS


def test_supervisord_never_gives_the_controller_up(groups: dict[str, Any]) -> None:
    """Nobody else would start it again, so its retries outlast any trouble."""
    (controller,) = groups["controller"].process_configs
    assert controller.startretries >= 1000
    assert controller.priority < groups["inference"].process_configs[0].priority
