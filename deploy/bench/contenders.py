"""Who takes part: our system, and each peer in the configurations that were found best for two cores.

Where the peers' settings come from is in docs/benchmarks/README.md.
"""

from __future__ import annotations

import json
import os
import shutil
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.bench.peers.work import FEATURES, VARIABLE
from deploy.bench.protocols import Form, OpenInference, Predict
from deploy.trial import prepared
from inference_core.settings import CHECKOUT
from inference_core.settings import VARIABLE as SETTINGS

PEERS = Path(__file__).with_name("peers")
OURS = "ours"


@dataclass(frozen=True)
class Launch:
    """What a start needs: `ports` has three free ones, `folder` is private and new, `python` runs the server."""

    work: str
    ports: tuple[int, ...]
    folder: Path
    python: Path


@dataclass(frozen=True)
class Command:
    """A program with its arguments, and the environment variables that it needs besides ours."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Contender:
    """A server in one configuration; `peer` names its folder of pins, `arrange` prepares a start."""

    key: str
    label: str
    peer: str
    form: Form
    arrange: Callable[[Launch], Command]


def ours(telemetry: Mapping[str, Any]) -> Callable[[Launch], Command]:
    """Return what prepares our own system, whose section [telemetry] has these keys; the others have their defaults."""

    def arrange(launch: Launch) -> Command:
        port, grpc_port, *_ = launch.ports
        sections: dict[str, Mapping[str, Any]] = {
            "gateway": {"port": port},
            # `up` waits for the default models, so the model that is measured has to be one.
            "predict": {"features_model": launch.work, "prompt_model": launch.work},
            "inference": {"port": grpc_port, "repository": str(Path(__file__).with_name("models"))},
            "telemetry": telemetry,
        }
        environment = prepared(launch.folder, sections).environment
        return Command((str(launch.python), "-m", "deploy", "up"), {SETTINGS: environment[SETTINGS]})

    return arrange


def _fastapi(processes: int) -> Callable[[Launch], Command]:
    def arrange(launch: Launch) -> Command:
        options = f"--workers {processes} --host 127.0.0.1 --port {launch.ports[0]} --loop uvloop --http httptools"
        program = (str(launch.python), "-m", "uvicorn", "deploy.bench.peers.fastapi.server:app")
        quiet = ("--no-access-log", "--log-level", "warning")
        return Command((*program, *options.split(), *quiet), _shared(launch))

    return arrange


def _mosec(processes: int, batch: int) -> Callable[[Launch], Command]:
    def arrange(launch: Launch) -> Command:
        options = ("--address", "127.0.0.1", "--port", str(launch.ports[0]), "--path", str(launch.folder / "ipc"))
        return Command(
            (str(launch.python), "-m", "deploy.bench.peers.mosec.server", *options, "--log-level", "warning"),
            {**_shared(launch), "BENCH_PROCESSES": str(processes), "BENCH_BATCH": str(batch)},
        )

    return arrange


def _litserve(processes: int, batch: int) -> Callable[[Launch], Command]:
    def arrange(launch: Launch) -> Command:
        return Command(
            (str(launch.python), "-m", "deploy.bench.peers.litserve.server", str(launch.ports[0])),
            {**_shared(launch), "BENCH_PROCESSES": str(processes), "BENCH_BATCH": str(batch)},
        )

    return arrange


def _mlserver(batch: int) -> Callable[[Launch], Command]:
    def arrange(launch: Launch) -> Command:
        http, grpc, metrics = launch.ports
        settings: dict[str, Any] = {"host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_port": metrics}
        settings |= {"metrics_endpoint": None, "debug": False, "gzip_enabled": False, "parallel_workers": 0}
        model: dict[str, Any] = {"name": launch.work, "implementation": "deploy.bench.peers.mlserver.server.Classifier"}
        if batch > 1:
            model |= {"max_batch_size": batch, "max_batch_time": 0.002}
        (launch.folder / "settings.json").write_text(json.dumps(settings))
        (launch.folder / "model-settings.json").write_text(json.dumps(model))
        return Command((str(launch.python.parent / "mlserver"), "start", str(launch.folder)), _shared(launch))

    return arrange


def _triton(instances: int) -> Callable[[Launch], Command]:
    def arrange(launch: Launch) -> Command:
        wheel = next(launch.python.parents[1].glob("lib/python3.*/site-packages/pytriton/tritonserver"))
        version = wheel.parents[2].name.removeprefix("python")
        model = launch.folder / "models" / launch.work
        (model / "1").mkdir(parents=True)
        (model / "1" / "model.py").write_bytes((PEERS / "triton" / "model.py").read_bytes())
        _place_stub(wheel, version)
        template = (PEERS / "triton" / "config.pbtxt.template").read_text()
        values = {"WORK": launch.work, "FEATURES": str(FEATURES[launch.work]), "INSTANCES": str(instances)}
        for key, value in values.items():
            template = template.replace(f"@{key}@", value)
        (model / "config.pbtxt").write_text(template)
        environment = _shared(launch)
        environment["PYTHONPATH"] += f":{wheel.parents[1]}"
        # The stub links libpython, and must not meet another build of it than the one the packages were made for.
        environment["LD_LIBRARY_PATH"] = str(sysconfig.get_config_var("LIBDIR"))
        options = f"--http-address=127.0.0.1 --http-port={launch.ports[0]} --allow-grpc=false --allow-metrics=false"
        folders = (f"--model-repository={model.parent}", f"--backend-directory={wheel / 'backends'}")
        quiet = ("--log-info=false", "--disable-auto-complete-config", "--exit-timeout-secs=5")
        return Command((str(wheel / "bin" / "tritonserver"), *folders, *options.split(), *quiet), environment)

    return arrange


def _place_stub(wheel: Path, version: str) -> None:
    """Put the stub for this Python where the backend looks for it; the wheel has one for each version elsewhere."""
    name = "triton_python_backend_stub"
    place = wheel / "backends" / "python" / name
    if not place.exists():
        shutil.copy2(wheel / "python_backend_stubs" / version / name, place.with_suffix(".new"))
        place.with_suffix(".new").rename(place)


def _shared(launch: Launch) -> dict[str, str]:
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")  # as our workers have it
    path = os.pathsep.join(filter(None, [str(CHECKOUT), str(launch.folder)]))
    return {VARIABLE: launch.work, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **single}


CONTENDERS = (
    Contender(OURS, "InferenceHub", "", Predict(), ours({})),
    Contender("fastapi-1", "FastAPI, 1 process", "fastapi", Predict(), _fastapi(1)),
    Contender("fastapi-2", "FastAPI, 2 processes", "fastapi", Predict(), _fastapi(2)),
    Contender("mosec-1", "mosec, 1 process, no batch", "mosec", Predict(), _mosec(1, 1)),
    Contender("mosec-2", "mosec, 2 processes, batch 16", "mosec", Predict(), _mosec(2, 16)),
    Contender("triton-1", "Triton, 1 instance", "triton", OpenInference(), _triton(1)),
    Contender("triton-2", "Triton, 2 instances", "triton", OpenInference(), _triton(2)),
    Contender("litserve-1", "LitServe, 1 worker, batch 64", "litserve", Predict(), _litserve(1, 64)),
    Contender("litserve-2", "LitServe, 2 workers, no batch", "litserve", Predict(), _litserve(2, 1)),
    Contender("mlserver", "MLServer, no batch", "mlserver", OpenInference(), _mlserver(1)),
    Contender("mlserver-64", "MLServer, batch 64", "mlserver", OpenInference(), _mlserver(64)),
)
