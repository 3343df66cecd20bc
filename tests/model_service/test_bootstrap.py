"""A worker as it is started: from settings and a folder of models to a stop that loses nothing."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inference_core.errors import ConfigurationError
from inference_core.settings import VARIABLE, Inference, Layout, Settings, Telemetry
from inference_core.tensors import write_inputs
from inference_pb import open_inference_pb2 as wire
from inference_pb.open_inference_pb2_grpc import GRPCInferenceServiceStub
from model_service.bootstrap import serve
from model_service.server import NOT_SERVING, SERVING
from model_service.slot import SlotLock
from tests.model_service.repository_tree import add_model
from tests.waiting import wait_for

CANNOT_START = 3
MODEL = """
import pathlib, time

class Model:
    def __init__(self, folder, parameters):
        while (folder.parents[2] / "wait").exists():
            time.sleep(0.01)

    def predict(self, inputs):
        return {"class_id": inputs["features"].sum(axis=1).astype("int32")}

    def close(self):
        pathlib.Path(__file__).with_name("closed").touch()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder with a repository of one Python model, whose sockets have short paths."""
    with tempfile.TemporaryDirectory(prefix="hub-") as name:
        add_model(Path(name, "models"), "sum")
        Path(name, "models", "sum", "1", "model.py").write_text(MODEL)
        yield Path(name)


def free_port() -> int:
    """Return a port that was free just now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def settings_for(folder: Path, **inference: Any) -> Settings:
    """Return settings of one worker, with everything it touches in the folder."""
    values: dict[str, Any] = {
        "workers": 1,
        "port": free_port(),
        "repository": str(folder / "models"),
        "drain_pause": 0.0,
    } | inference
    return Settings(
        inference=Inference(**values), telemetry=Telemetry(otlp_endpoint=""), layout=Layout(str(folder / "run"))
    )


async def health_of(target: str) -> int | None:
    """Return the health of a worker, or None where nobody answers."""
    async with grpc.aio.insecure_channel(target) as channel:
        with suppress(grpc.aio.AioRpcError):
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=1)
            return int(answer.status)
    return None


async def wait_health(target: str, status: int) -> None:
    """Wait until a worker has that health."""
    async with asyncio.timeout(20):
        while await health_of(target) != status:
            await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.02)


async def total_of(target: str) -> int:
    """Ask the model `sum` for the sum of one row."""
    request = wire.ModelInferRequest(model_name="sum")
    write_inputs(request, {"features": np.array([[1, 2, 3]], np.float32)})
    async with grpc.aio.insecure_channel(target) as channel:
        answer = await GRPCInferenceServiceStub(channel).ModelInfer(request)
    return int(np.frombuffer(answer.raw_output_contents[0], "<i4")[0])


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[asyncio.Task[None]]:
    """Serve in this process until the block ends, then stop it as supervisord does, and wait."""
    task = asyncio.create_task(serve(settings, 0))
    try:
        yield task
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        await task
        gc.unfreeze()


def unix(settings: Settings) -> str:
    """Return the target of slot 0's socket."""
    return f"unix:{settings.worker_socket(0)}"


async def test_a_worker_serves_on_its_socket_and_its_port(folder: Path) -> None:
    """A model on disk answers on the slot's socket and on port + slot; a stop closes it and frees the slot."""
    settings = settings_for(folder)
    async with serving(settings):
        for target in (unix(settings), f"127.0.0.1:{settings.inference.port}"):
            await wait_health(target, SERVING)
            assert await total_of(target) == 6
    assert (folder / "models" / "sum" / "1" / "closed").exists()
    assert await health_of(unix(settings)) is None
    SlotLock(settings.run_folder / "inference-0.lock").release()


async def test_a_worker_is_not_serving_while_it_loads(folder: Path) -> None:
    """While a model loads, probes are answered with NOT_SERVING, and SERVING follows when it is there."""
    settings = settings_for(folder)
    wait = folder / "wait"
    wait.touch()
    async with serving(settings):
        await wait_health(unix(settings), NOT_SERVING)
        wait.unlink()
        await wait_health(unix(settings), SERVING)
        assert await total_of(unix(settings)) == 6


async def test_a_worker_listens_on_ipv6(folder: Path) -> None:
    """An IPv6 host is an address like any other."""
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    settings = settings_for(folder, host="::1")
    async with serving(settings):
        await wait_health(f"[::1]:{settings.inference.port}", SERVING)


async def refusal(settings: Settings, slot: int = 0) -> str:
    """Return why a worker does not start."""
    with pytest.raises(ConfigurationError) as caught:
        await serve(settings, slot)
    return caught.value.message


async def test_a_taken_port_ends_the_start(folder: Path) -> None:
    """A port that another program has ends the start with the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"Cannot listen on 127.0.0.1:{port}" in await refusal(settings_for(folder, port=port))


@pytest.mark.parametrize("slot", [-1, 1, 50_000])
async def test_a_slot_that_is_not_there_ends_the_start(folder: Path, slot: int) -> None:
    """A slot outside of inference.workers ends the start and leaves no file."""
    assert "inference.workers is 1" in await refusal(settings_for(folder), slot)
    assert not (folder / "run").exists()


async def test_a_broken_model_hurts_no_other(folder: Path) -> None:
    """A model that cannot be loaded is UNAVAILABLE with its file and the reason, and the others serve."""
    add_model(folder / "models", "broken")
    file = folder / "models" / "broken" / "1" / "model.py"
    file.write_text("raise RuntimeError('no luck')")
    settings = settings_for(folder)
    async with serving(settings):
        await wait_health(unix(settings), SERVING)
        assert await total_of(unix(settings)) == 6
        async with grpc.aio.insecure_channel(unix(settings)) as channel:
            index = await GRPCInferenceServiceStub(channel).RepositoryIndex(wire.RepositoryIndexRequest())
    (broken, fine) = index.models
    assert (broken.name, broken.version, broken.state) == ("broken", "1", "UNAVAILABLE")
    assert broken.reason.startswith("Model file broken/1/model.py cannot be loaded: RuntimeError in line 1")
    assert (fine.name, fine.state, fine.reason) == ("sum", "READY", "")


async def test_an_empty_repository_waits_for_models(folder: Path) -> None:
    """A worker without models serves, and a model that is dropped in later is answered for without a restart."""
    (folder / "empty").mkdir()
    settings = settings_for(folder, repository=str(folder / "empty"), poll_interval=0.05)
    async with serving(settings):
        await wait_health(unix(settings), SERVING)
        (folder / "models" / "sum").rename(folder / "empty" / "sum")
        async with asyncio.timeout(20), grpc.aio.insecure_channel(unix(settings)) as channel:
            ready = wire.ModelReadyRequest(name="sum")
            while not (await GRPCInferenceServiceStub(channel).ModelReady(ready)).ready:
                await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.02)
        assert await total_of(unix(settings)) == 6


async def test_sighup_looks_at_once(folder: Path) -> None:
    """SIGHUP brings in what has changed and tries again what failed, without watching."""
    file = folder / "models" / "sum" / "1" / "model.py"
    (folder / "broken").touch()
    file.write_text(
        "import pathlib\nassert not pathlib.Path(__file__).parents[3].joinpath('broken').exists()\n" + MODEL
    )
    settings = settings_for(folder, poll_interval=0)
    async with serving(settings):
        await wait_health(unix(settings), SERVING)
        (folder / "broken").unlink()
        os.kill(os.getpid(), signal.SIGHUP)
        async with asyncio.timeout(20), grpc.aio.insecure_channel(unix(settings)) as channel:
            ready = wire.ModelReadyRequest(name="sum")
            while not (await GRPCInferenceServiceStub(channel).ModelReady(ready)).ready:
                await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.02)


async def test_a_run_folder_that_is_a_file_ends_the_start(folder: Path) -> None:
    """A run folder that cannot be made ends the start with its path."""
    (folder / "run").touch()
    assert f"The run folder {folder / 'run'} cannot be used" in await refusal(settings_for(folder))


class Program:
    """`python -m model_service 0` as a process."""

    def __init__(self, folder: Path, port: int) -> None:
        self.settings = settings_for(folder, port=port)
        file = folder / "settings.toml"
        file.write_text(
            f'[inference]\nworkers = 1\nport = {port}\nrepository = "{folder}/models"\n'
            f'[telemetry]\notlp_endpoint = ""\n[layout]\nrun_folder = "{folder}/run"\n'
        )
        self._environment = {**os.environ, VARIABLE: str(file)}

    def start(self) -> subprocess.Popen[str]:
        """Start a process."""
        command = [sys.executable, "-m", "model_service", "0"]
        return subprocess.Popen(command, env=self._environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.e2e
def test_sockets_are_for_their_owner_alone(folder: Path) -> None:
    """Group and others have no access to the run folder or a socket; SIGTERM ends with 0 and lines that say so."""
    folder.chmod(0o755)
    program = Program(folder, free_port())
    with program.start() as process:
        wait_for(lambda: asyncio.run(health_of(unix(program.settings))) == SERVING, "serving")
        socket_mode = program.settings.worker_socket(0).stat().st_mode
        folder_mode = program.settings.run_folder.stat().st_mode
        process.terminate()
        output, _ = process.communicate(timeout=20)
    assert stat.S_ISSOCK(socket_mode)
    assert [mode & 0o077 for mode in (socket_mode, folder_mode)] == [0, 0]
    assert process.returncode == 0
    assert [json.loads(line)["event"] for line in output.splitlines()] == [
        "model loaded",
        "serving",
        "draining",
        "stopped",
    ]


@pytest.mark.e2e
def test_a_start_that_fails_says_why(folder: Path) -> None:
    """A second process on a slot leaves with status 3 and one line with the reason; the first one keeps answering."""
    program = Program(folder, free_port())
    with program.start() as first:
        wait_for(lambda: asyncio.run(health_of(unix(program.settings))) == SERVING, "serving")
        with program.start() as second:
            output, _ = second.communicate(timeout=20)
        total = asyncio.run(total_of(unix(program.settings)))
        first.terminate()
        first.communicate(timeout=20)
    (line,) = (json.loads(line) for line in output.splitlines())
    assert second.returncode == CANNOT_START
    assert (line["event"], line["level"], line["slot"]) == ("cannot start", "error", 0)
    assert line["reason"].startswith("Another worker holds inference-0.lock")
    assert total == 6
