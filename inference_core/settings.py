"""What every program does, read once from one TOML file and handed out in frozen slices.

The file is `deploy/settings.toml`, or the one that the environment variable INFERENCEHUB_SETTINGS names.
Every key may be left out; a key that is not declared here is refused, with the nearest one that is.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from inference_core.errors import ConfigurationError
from inference_core.toml_places import Refusal, line_of, place_of, refuse_unknown

VARIABLE = "INFERENCEHUB_SETTINGS"
CHECKOUT = Path(__file__).resolve().parents[1]
DEFAULT_FILE = CHECKOUT / "deploy" / "settings.toml"
SOCKET_PATH_LIMIT = 107  # sun_path in unix(7) holds 108 bytes with its closing NUL

LAST_PORT = 65535
RUN_FOLDER = r"^[^,%\"\x00-\x1f]+$"  # a comma separates gRPC's socket paths, the others mean something to supervisord
DAY = 86_400.0  # bounds every time: infinity is a number in TOML, and no timer takes it

HEADER_NAME = r"^(?!.*-[Bb][Ii][Nn]$)[A-Za-z][A-Za-z0-9-]{0,63}$"  # gRPC's values of names in -bin are no text

HeaderName = Annotated[str, Meta(pattern=HEADER_NAME)]
Port = Annotated[int, Meta(ge=1, le=LAST_PORT)]
Seconds = Annotated[float, Meta(gt=0, le=DAY)]
Pause = Annotated[float, Meta(ge=0, le=DAY)]
Count = Annotated[int, Meta(ge=1)]
Ratio = Annotated[float, Meta(ge=0, le=1)]


class Gateway(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The side of the clients. Times in seconds, sizes in bytes; limits hold for each gateway process."""

    host: str = "127.0.0.1"
    port: Port = 3000
    grpc_port: Port = 3001
    processes: Annotated[int, Meta(ge=2, le=64)] = 2
    allowed_hosts: Annotated[tuple[str, ...], Meta(min_length=1)] = ("localhost", "127.0.0.1", "[::1]")
    deadline: Seconds = 5.0
    max_body_bytes: Count = 16 * 1024 * 1024
    body_deadline: Seconds = 30.0
    header_deadline: Seconds = 10.0
    write_deadline: Seconds = 30.0
    keep_alive: Seconds = 5.0
    max_connections: Count = 4096
    max_grpc_connections: Count = 1024
    max_target_bytes: Count = 8192
    max_header_bytes: Count = 32768
    max_headers: Count = 100
    max_chunks: Count = 65536
    batches_in_flight: Annotated[int, Meta(ge=1, le=64)] = 1
    admission: bool = True
    max_queue_rows: Count = 8192
    max_queue_bytes: Count = 256 * 1024 * 1024
    queue_target: Seconds = 0.25
    memory_limit_bytes: Count = 1024 * 1024 * 1024
    retry_ratio: Ratio = 0.1
    hedge_ratio: Ratio = 0.05
    refuse_seconds: Pause = 60.0


class Predict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which model answers the origin's contract when a request names none."""

    features_model: str = "v1-mock"
    prompt_model: str = "sentiment"


class Traffic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How requests are spread over a model's versions; the rules themselves are set at run time.

    A header's value is the key that meets the same version again and again, or the version that its sender wants.
    """

    user_header: HeaderName = "X-User-Key"
    version_header: HeaderName = "X-Model-Version"
    poll_seconds: Annotated[float, Meta(ge=0.01, le=0.5)] = 0.25
    shadow_in_flight: Annotated[int, Meta(ge=1, le=1024)] = 8


class Inference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The workers. Slot s listens on a Unix socket for the gateway and on `port` + s for people.

    The bounds of the queue hold for each model of each worker. Models come from `repositories`, and of two that have
    the same name the one in the first of these; `repository`, where it is given, is the only one. Without
    `max_model_bytes` memory alone bounds a version's size.
    """

    workers: Annotated[int, Meta(ge=1, le=64)] = 2
    host: str = "127.0.0.1"
    port: Port = 50051
    repositories: tuple[str, ...] = ("models", "model_service/models")
    repository: str = ""
    poll_interval: Annotated[float, Meta(ge=0, le=60)] = 0.25
    load_timeout: Seconds = 120.0
    max_model_bytes: Annotated[int, Meta(ge=0)] = 0
    max_message_bytes: Annotated[int, Meta(ge=1, le=2**31 - 1)] = 64 * 1024 * 1024
    default_deadline: Seconds = 30.0
    drain_pause: Annotated[float, Meta(ge=0, le=2)] = 0.4
    hang_seconds: Seconds = 20.0
    drain_grace: Annotated[float, Meta(gt=0, le=10)] = 5.0
    mock_latency: Pause = 0.5
    max_queue_rows: Count = 8192
    max_queue_bytes: Count = 256 * 1024 * 1024
    queue_target: Seconds = 0.1
    inline_seconds: Annotated[float, Meta(ge=0, le=0.01)] = 0.0002


class Controller(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What watches over the programs. Times in seconds; `probe_failures` counts unanswered probes in a row."""

    poll_interval: Annotated[float, Meta(ge=0.01, le=60)] = 0.15
    probe_interval: Annotated[float, Meta(ge=0.05, le=60)] = 1.0
    probe_timeout: Annotated[float, Meta(ge=0.05, le=60)] = 1.0
    probe_failures: Count = 3
    start_grace: Seconds = 30.0
    longest_backoff: Annotated[float, Meta(ge=1, le=DAY)] = 30.0
    stable_after: Seconds = 60.0


class Telemetry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Traces, metrics and logs. An empty `otlp_endpoint` turns span export off, `log_level` "off" all log lines."""

    otlp_endpoint: str = "http://127.0.0.1:4317"
    traces_per_second: Annotated[float, Meta(ge=0, le=100_000)] = 20.0
    sample_ratio: Ratio = 0.0
    refused_traces_per_second: Annotated[float, Meta(ge=0, le=100_000)] = 5.0
    slow_seconds: Seconds = 1.0
    slow_share: Annotated[float, Meta(ge=0, le=0.5)] = 0.01
    slow_traces_per_second: Annotated[float, Meta(ge=0, le=100_000)] = 5.0
    trust_sampled_flag: bool = True
    export_timeout: Seconds = 2.0
    metrics: bool = True
    log_level: Literal["debug", "info", "warning", "error", "critical", "off"] = "info"
    log_lines_per_second: Annotated[float, Meta(ge=0, le=100_000)] = 20.0


class TraceStore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The embedded trace store. It listens on 127.0.0.1 alone; what is over `max_bytes` or `max_age` is removed."""

    port: Port = 4317
    max_bytes: Annotated[int, Meta(ge=1024 * 1024)] = 256 * 1024 * 1024
    max_age: Annotated[float, Meta(gt=0, le=3660 * DAY)] = 3 * DAY
    inbox_bytes: Count = 32 * 1024 * 1024


class Layout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where sockets, logs and state live; a relative folder counts from the checkout."""

    run_folder: Annotated[str, Meta(pattern=RUN_FOLDER)] = "run"
    allow_remote: bool = False


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    gateway: Gateway = Gateway()
    predict: Predict = Predict()
    traffic: Traffic = Traffic()
    inference: Inference = Inference()
    controller: Controller = Controller()
    telemetry: Telemetry = Telemetry()
    tracestore: TraceStore = TraceStore()
    layout: Layout = Layout()

    @property
    def run_folder(self) -> Path:
        """The absolute folder of sockets, logs and state."""
        return CHECKOUT / self.layout.run_folder

    @property
    def repositories(self) -> tuple[Path, ...]:
        """The absolute folders of the model repositories; the first one that has a model's name counts."""
        inference = self.inference
        return tuple(
            CHECKOUT / folder for folder in ([inference.repository] if inference.repository else inference.repositories)
        )

    @property
    def trace_file(self) -> Path:
        """The SQLite file of the embedded trace store."""
        return self.run_folder / "traces.sqlite"

    def worker_socket(self, slot: int) -> Path:
        """Return the Unix socket on which the worker of that slot serves the gateway."""
        return self.run_folder / f"inference-{slot}.sock"

    def hop_socket(self, slot: int) -> Path:
        """Return the Unix socket on which that worker takes its gateways' batches."""
        return self.run_folder / f"inference-{slot}.hop"

    def death_note(self, slot: int) -> Path:
        """Return the file in which the worker of that slot notes the input that it runs alone, while it does."""
        return self.run_folder / f"inference-{slot}.alone"


def load(path: Path | None = None) -> Settings:
    """Read and check the settings.

    Raises ConfigurationError with the file, the line, the key and what is wrong with it.
    """
    file = path or Path(os.environ.get(VARIABLE) or DEFAULT_FILE)
    try:
        text = file.read_text(encoding="utf-8")
        settings = _converted(text)
        _check(settings)
    except OSError as error:
        raise ConfigurationError(f"Settings file {file} cannot be read: {error.strerror}.") from error
    except Refusal as error:
        raise ConfigurationError(_sentence(f"{file}:{line_of(text, error.place)}", error)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ConfigurationError) as error:
        raise ConfigurationError(_sentence(str(file), error)) from error
    return settings


def _sentence(place: str, error: Exception) -> str:
    return f"Settings file {place}: {error}\nEvery key that exists is in {DEFAULT_FILE}."


def _converted(text: str) -> Settings:
    document = tomllib.loads(text)
    _check_keys(document)
    try:
        return msgspec.convert(document, Settings)
    except msgspec.ValidationError as error:
        raise Refusal(place_of(str(error)), str(error)) from error


def _check_keys(document: dict[str, Any]) -> None:
    sections = msgspec.structs.asdict(Settings())
    refuse_unknown("section", (), document, sections)
    for section, given in document.items():
        if isinstance(given, dict):
            refuse_unknown("key", (section,), given, sections[section].__struct_fields__)


def _check(settings: Settings) -> None:
    if not settings.layout.allow_remote:
        _check_loopback("gateway.host", settings.gateway.host)
        _check_loopback("inference.host", settings.inference.host)
    if settings.gateway.grpc_port == settings.gateway.port:
        raise ConfigurationError(f"gateway.port and gateway.grpc_port are both {settings.gateway.port}.")
    if settings.inference.port + settings.inference.workers - 1 > LAST_PORT:
        raise ConfigurationError(
            f"inference.port is {settings.inference.port}, which leaves no port for the last of "
            f"{settings.inference.workers} workers."
        )
    longest = str(settings.worker_socket(settings.inference.workers - 1))
    if len(os.fsencode(longest)) > SOCKET_PATH_LIMIT:
        raise ConfigurationError(
            f"the socket path {longest} is longer than the {SOCKET_PATH_LIMIT} bytes that Linux allows; "
            "set layout.run_folder to a shorter absolute folder, such as one below /tmp or /run."
        )


def _check_loopback(key: str, host: str) -> None:
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise ConfigurationError(
            f"{key} is {host}, which is not a loopback address, and nothing here authenticates callers. "
            "Put a proxy in front, or set layout.allow_remote = true if the network itself is trusted."
        )
