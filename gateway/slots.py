"""One slot: the connection to the worker in it, what that worker can run, and whether it may get work.

A slot is declared up front and may be empty. Its state follows the worker's own health service, so that a worker which
loads, drains, hangs or is gone gets nothing new.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health_pb2

from gateway.hop import Hop, InferCall
from gateway.looks import Looks
from gateway.model_facts import Key, ModelFacts, facts_from
from inference_core.names import INFER_PATH, MODELS_REVISION, SERVICE
from inference_pb import open_inference_pb2 as wire

INDEX = f"/{SERVICE}/RepositoryIndex"
CONFIG = f"/{SERVICE}/ModelConfig"
WATCH = "/grpc.health.v1.Health/Watch"
CHECK = "/grpc.health.v1.Health/Check"
SERVING = health_pb2.HealthCheckResponse.SERVING

PROBE_SECONDS = 1.0
REFRESH_SECONDS = 1.0
SUSPECT_PROBE_SECONDS = 0.25
RETRY_SECONDS = 0.02
log = structlog.get_logger()


class State(enum.Enum):
    """What a slot is good for; only READY ones get work."""

    ABSENT = "absent"
    CONNECTING = "connecting"
    READY = "ready"
    DRAINING = "draining"
    SUSPECT = "suspect"


NO_MODELS: Mapping[str, ModelFacts] = {}


@dataclass(eq=False)
class Slot:
    """A worker's place. `in_flight` counts batches by model and version, `batches` all of them.

    `connections` counts those that broke.
    `late` counts suspicions. Of workers that are equally busy the one with the fewest is asked, and else always the
    same one: its caches are warm, and the batches of several gateways meet there.

    `drains`: its worker announced that it leaves, also once it has left, until the next one comes.
    `revision`: what its worker called the state of its models when `models` was learned; empty where it says nothing.
    """

    number: int
    path: str
    options: list[tuple[str, Any]]
    most_bytes: int
    changed: Callable[[Slot], None]
    state: State = State.ABSENT
    models: Mapping[str, ModelFacts] = field(default_factory=dict)
    index: wire.RepositoryIndexResponse | None = None
    in_flight: dict[Key, int] = field(default_factory=dict)
    batches: int = 0
    late: int = 0
    connections: int = 0
    drains: bool = False
    revision: str = ""
    looks: Looks = field(default_factory=Looks)

    @property
    def death_note(self) -> Path:
        """The file that a worker leaves behind which died of an input that ran alone: that input's fingerprint."""
        return Path(self.path).with_suffix(".alone")

    @property
    def leaves_notes(self) -> bool:
        """Whether the worker here is one of ours, which hold a lock beside their socket and leave death notes."""
        return Path(self.path).with_suffix(".lock").exists()

    def facts(self, model: str, version: str = "") -> ModelFacts | None:
        """Return what its worker says of a model, None where it does not have that, or not in the version named."""
        facts = self.models.get(model)
        return facts if facts is None or not version or version in facts.versions else None

    @property
    def hop_socket(self) -> Path:
        """Where its worker takes batches; one that is not ours has no such socket, and gets them over the channel."""
        return Path(self.path).with_suffix(".hop")

    def connect(self) -> None:
        """Create the channel and follow the worker's health; call it inside the running loop, after every fork."""
        self._channel = grpc.aio.insecure_channel(f"unix:{self.path}", self.options)
        self._infer: Callable[..., InferCall] = self._channel.unary_unary(INFER_PATH)
        self._hop = Hop(self.hop_socket, INFER_PATH, self.most_bytes)
        self._minder = asyncio.get_running_loop().create_task(self._mind())
        self._suspicion: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """End what `connect` began."""
        tasks = [task for task in (self._minder, self._suspicion) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._hop.close()
        await self._channel.close()

    def is_connected(self) -> bool:
        """Tell whether a batch would reach a worker, as far as is known now."""
        hop = self._hop.connection
        return self._is_in_touch() if hop is None else hop.is_open

    def _is_in_touch(self) -> bool:
        return self._channel.get_state() is grpc.ChannelConnectivity.READY

    async def answers(self) -> bool:
        """Tell whether the worker's event loop turns and the connection to it has held meanwhile."""
        connections = self.connections
        try:
            await self._check(SUSPECT_PROBE_SECONDS)
        except grpc.aio.AioRpcError:
            return False
        return connections == self.connections

    def infer(self, request: bytes, timeout: float, metadata: tuple[tuple[str, str], ...]) -> InferCall:
        """Begin a call, with a serialised ModelInferRequest; it fails at once where there is no connection."""
        if self._hop.connection is not None:
            return self._hop.connection.call(request, timeout, metadata)
        return self._infer(request, timeout=timeout, metadata=metadata)

    def suspect(self) -> None:
        """Give no more work until the worker's event loop answers a probe; also after a call that was lost."""
        self.late += 1
        if self.state is State.READY:
            self._become(State.SUSPECT)
            if self._suspicion is not None:
                self._suspicion.cancel()  # from the time of an earlier worker in this slot
            self._suspicion = asyncio.get_running_loop().create_task(self._clear_suspicion())

    async def probe(self) -> wire.RepositoryIndexResponse | None:
        """Ask which models there are; None where the worker does not answer within a second."""
        try:
            index: wire.RepositoryIndexResponse = await self._ask(
                INDEX, wire.RepositoryIndexRequest(), wire.RepositoryIndexResponse
            )
        except grpc.aio.AioRpcError:
            return None
        return index

    async def ask(self, name: str, request: Any, response: type[Any], seconds: float) -> Any:
        """Call a method of the inference service by its name; raises AioRpcError."""
        return await self._ask(f"/{SERVICE}/{name}", request, response, seconds)

    async def _mind(self) -> None:
        while True:
            try:
                await self._follow_health()
            except grpc.aio.AioRpcError:
                pass  # the connection is gone, or was never there
            except Exception:  # whatever a foreign server sends, the slot is minded on
                log.exception("minding a worker failed", slot=self.number)
            self.connections += 1
            self._hop.close()  # what breaks the channel, as a worker that does not answer pings, ends its calls
            self._become(State.ABSENT)
            await asyncio.sleep(RETRY_SECONDS)

    async def _follow_health(self) -> None:
        watch = self._channel.unary_stream(
            WATCH, health_pb2.HealthCheckRequest.SerializeToString, health_pb2.HealthCheckResponse.FromString
        )
        updates = watch(health_pb2.HealthCheckRequest(service=SERVICE), wait_for_ready=True)
        refresher: asyncio.Task[None] | None = None
        try:
            async for update in updates:
                if update.status == SERVING:
                    await self._learn()
                    await self._hop.open(PROBE_SECONDS)
                    self._become(State.READY)
                    refresher = refresher or asyncio.get_running_loop().create_task(self._refresh())
                elif self.state is State.CONNECTING or self.state is State.ABSENT:
                    self._become(State.CONNECTING)
                else:
                    break
        finally:
            updates.cancel()
            if refresher is not None:
                refresher.cancel()
        await self._drained()

    async def _drained(self) -> None:
        # The worker's stop would wait its whole grace for this stream, so it was left; now the connection's end counts,
        # or that the worker changes its mind.
        self._become(State.DRAINING)
        while self._is_in_touch():
            try:
                async with asyncio.timeout(REFRESH_SECONDS):
                    await self._channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
            except TimeoutError:
                if await self._serves_again():
                    return

    async def _serves_again(self) -> bool:
        try:
            return await self._check(PROBE_SECONDS) == SERVING
        except grpc.aio.AioRpcError:
            return False

    async def _refresh(self) -> None:
        # The probe runs through the worker's event loop, which pings and streams do not.
        while True:
            await self.looks.next(REFRESH_SECONDS)
            try:
                await self._learn()
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                    self.suspect()

    async def _learn(self) -> None:
        call = self._call(INDEX, wire.RepositoryIndexRequest(), wire.RepositoryIndexResponse)
        index: wire.RepositoryIndexResponse = await call
        revision = _revision(await call.trailing_metadata())
        facts = self.models if revision and revision == self.revision else await self._all_facts(index)
        changed = facts != self.models
        self.models, self.index, self.revision = facts, index, revision
        if changed and self.state is State.READY:
            self.changed(self)

    async def _all_facts(self, index: wire.RepositoryIndexResponse) -> Mapping[str, ModelFacts]:
        versions: dict[str, list[str]] = {}
        for model in index.models:
            if model.state == "READY":
                versions.setdefault(model.name, []).append(model.version)
        told = await asyncio.gather(*[self._facts(name, tuple(listed)) for name, listed in versions.items()])
        return {name: found for name, found in zip(versions, told, strict=True) if found is not None}

    async def _facts(self, model: str, versions: tuple[str, ...]) -> ModelFacts | None:
        # Not by its versions alone: a model that was loaded again has the same, and may be another one.
        try:
            answer: wire.ModelConfigResponse = await self._ask(
                CONFIG, wire.ModelConfigRequest(name=model), wire.ModelConfigResponse
            )
            found = facts_from(versions, answer.config)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None  # unloaded since it was listed
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise
            found = ModelFacts(versions)
        known = self.models.get(model)
        return known if found == known else found  # the very same object while nothing has changed

    async def _ask(self, method: str, request: Any, response: type[Any], seconds: float = PROBE_SECONDS) -> Any:
        return await self._call(method, request, response, seconds)

    def _call(self, method: str, request: Any, response: type[Any], seconds: float = PROBE_SECONDS) -> Any:
        ask = self._channel.unary_unary(method, type(request).SerializeToString, response.FromString)
        return ask(request, timeout=seconds)

    async def _clear_suspicion(self) -> None:
        while self.state is State.SUSPECT:
            if not await self.answers():
                await asyncio.sleep(RETRY_SECONDS)
            elif self.state is State.SUSPECT:  # it may have changed meanwhile
                await self._hop.open(PROBE_SECONDS)
                if self.state is State.SUSPECT:
                    self._become(State.READY)

    async def _check(self, seconds: float) -> int:
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        answer: health_pb2.HealthCheckResponse = await self._ask(
            CHECK, request, health_pb2.HealthCheckResponse, seconds
        )
        return answer.status

    def _become(self, state: State) -> None:
        if state is self.state:
            return
        previous, self.state = self.state, state
        if state is State.ABSENT:
            self.models, self.index, self.revision = NO_MODELS, None, ""
        else:
            self.drains = state is State.DRAINING
        log.info("worker", slot=self.number, state=state.value, previous=previous.value)
        self.changed(self)


def _revision(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    return next((str(value) for key, value in metadata or () if key == MODELS_REVISION), "")
