"""The pool of slots: which worker takes the next batch, and who is told when that changes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import structlog

from gateway.isolation import RESERVED_SECONDS, Isolation
from gateway.model_facts import ModelFacts
from gateway.slots import Slot, State
from gateway.worker_errors import LOST
from inference_core import errors
from inference_core.deadline import Deadline
from inference_pb import open_inference_pb2 as wire

LOADING = "LOADING"
Listener = Callable[[], None]
log = structlog.get_logger()


class Workers:
    """The slots of one machine; usable between `connect` and `close`."""

    def __init__(self, sockets: Sequence[Path], max_message_bytes: int, batches_in_flight: int) -> None:
        options = _options(max_message_bytes)
        self.slots = [
            Slot(number, str(path), options, max_message_bytes, self._changed) for number, path in enumerate(sockets)
        ]
        self._batches_in_flight = batches_in_flight
        self._listeners: list[Listener] = []
        self._isolation = Isolation()
        self._change = asyncio.Event()
        self._reminder: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self.slots)

    @property
    def target(self) -> str:
        """The address of all slots, in gRPC's form."""
        return "unix:" + ",".join(slot.path for slot in self.slots)

    def connect(self) -> None:
        """Connect every slot; call it inside the running loop, after every fork."""
        for slot in self.slots:
            slot.connect()

    async def close(self) -> None:
        """Close every slot."""
        if self._reminder is not None:
            self._reminder.cancel()
        await asyncio.gather(*(slot.close() for slot in self.slots))

    def listen(self, listener: Listener) -> None:
        """Have a function called whenever a place may have become free."""
        self._listeners.append(listener)

    def facts(self, model: str, version: str = "") -> ModelFacts | None:
        """Return what a ready worker says of a model, None where none has it in that version; empty means any."""
        return next((facts for slot in self._ready() if (facts := slot.facts(model, version)) is not None), None)

    def models(self) -> list[str]:
        """Return the names of all models that can be asked now."""
        return sorted({name for slot in self._ready() for name in slot.models})

    def versions(self, model: str) -> list[str]:
        """Return the versions of a model that can be asked now, numbers in their order; empty where none has it."""
        found = {version for slot in self._ready() if model in slot.models for version in slot.models[model].versions}
        return sorted(found, key=lambda version: (len(version), version))

    def any_ready(self) -> bool:
        """Tell whether any worker takes work."""
        return any(True for _ in self._ready())

    def all_ready(self) -> bool:
        """Tell whether every worker takes work, so that what none of them has is nowhere."""
        return all(slot.state is State.READY for slot in self.slots)

    def is_ready(self, model: str, version: str = "") -> bool:
        """Tell whether any worker takes work for a model and, where it is named, for that version."""
        return self.facts(model, version) is not None

    async def wait_ready(self, deadline: Deadline) -> None:
        """Wait until any worker takes work, or until the deadline."""
        while not self.any_ready() and deadline.remaining():
            self._change.clear()
            try:
                async with asyncio.timeout(deadline.remaining()):
                    await self._change.wait()
            except TimeoutError:
                return

    def claim(
        self, model: str, version: str = "", *, alone: bool = False, other_than: Slot | None = None
    ) -> Slot | None:
        """Take a place for one batch of a model at the worker that has the fewest; None while all are busy.

        `alone`: at a worker that runs nothing else, and gets nothing else until `release`.
        """
        slot = self._isolate(model, version) if alone else self._least_busy(model, version, other_than)
        if slot is not None:
            slot.in_flight[model, version] = slot.in_flight.get((model, version), 0) + 1
            slot.batches += 1
        return slot

    def has_places(self, model: str, version: str = "") -> bool:
        """Tell whether any worker takes batches of a model that need not run alone, now or when it is less busy."""
        reserved = self._isolation.slot_now()
        return any(slot is not reserved and slot.facts(model, version) is not None for slot in self._ready())

    def release(self, model: str, slot: Slot, version: str = "") -> None:
        """Give a place back."""
        key = (model, version)
        slot.in_flight[key] -= 1
        if not slot.in_flight[key]:
            del slot.in_flight[key]  # versions come and go, and nothing may stay of them
        slot.batches -= 1
        if self._isolation.ended_by_release(slot):
            self._tell()

    def unreserve(self) -> None:
        """Keep no worker free for somebody who has left; others that want one alone claim again when they are told."""
        self._isolation.give_up()
        self._tell()

    def unknown(self, model: str) -> errors.InferenceHubError:
        """Return the error for a request whose model or version no worker takes work for."""
        if not self.any_ready():
            return errors.NoWorker(LOST)
        versions = self.versions(model)
        if versions:
            return errors.UnknownModel(f"Model {model} has no such version. Versions here: {', '.join(versions)}.")
        found = self._standing(model)
        if found is None:
            names = ", ".join(self.models())
            return errors.UnknownModel(f"There is no model of that name. Models here: {names}.")
        # What is being loaded is worth waiting for, and clients know that of a 503.
        return errors.NoWorker(_told(found)) if found.state == LOADING else errors.UnknownModel(_told(found))

    def _standing(self, model: str) -> wire.RepositoryIndexResponse.ModelIndex | None:
        # Of a model that a worker has and cannot run now; None where no worker knows of it.
        entries = [entry for slot in self._ready() if slot.index for entry in slot.index.models if entry.name == model]
        return next((entry for entry in reversed(entries) if entry.state != "READY"), None)

    def asked_for(self, model: str) -> list[Slot]:
        """Return the workers that can be asked about a model: those that have it, or else all that take work."""
        ready = self._ready()
        return [slot for slot in ready if model in slot.models] or ready

    def look_again(self) -> None:
        """Have every worker asked for its models soon, for something that none of them has told of."""
        for slot in self.slots:
            slot.looks.hurry()

    async def indexes(self) -> list[wire.RepositoryIndexResponse | None]:
        """Ask every slot which models it can run; None for a slot that does not answer within a second."""
        return await asyncio.gather(*(slot.probe() for slot in self.slots))

    def _least_busy(self, model: str, version: str, other_than: Slot | None) -> Slot | None:
        best, least = None, (math.inf, math.inf, math.inf)
        reserved = self._isolation.slot_now()
        for slot in self.slots:
            facts = slot.facts(model, version)
            if slot.state is not State.READY or facts is None or slot is reserved or slot is other_than:
                continue
            busy = slot.in_flight.get((model, version), 0)
            if busy < max(self._batches_in_flight, facts.instances) and (busy, slot.batches, slot.late) < least:
                best, least = slot, (busy, slot.batches, slot.late)
        return best

    def _isolate(self, model: str, version: str) -> Slot | None:
        able = [slot for slot in self._ready() if slot.facts(model, version) is not None]
        slot = self._isolation.claim(able)
        if slot is None and self._reminder is None:
            self._remind_later()
        return slot

    def _remind_later(self) -> None:
        # Nothing else may happen while a worker is kept free, and its places must not stay empty for somebody who left.
        self._reminder = asyncio.get_running_loop().call_later(RESERVED_SECONDS / 2, self._remind)

    def _remind(self) -> None:
        self._reminder = None
        if self._isolation.slot_now() is not None:
            self._remind_later()
        self._tell()

    def _ready(self) -> list[Slot]:
        return [slot for slot in self.slots if slot.state is State.READY]

    def _changed(self, slot: Slot) -> None:
        self._isolation.left_by(slot)
        self._tell()

    def _tell(self) -> None:
        self._change.set()
        for listener in self._listeners:
            try:
                listener()
            except Exception:  # the slots are minded on, and the other listeners told
                log.exception("a listener failed")


def _options(max_message_bytes: int) -> list[tuple[str, Any]]:
    return [
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.enable_retries", 0),  # the dispatcher is the one layer that repeats calls
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1000),  # in truth the connect timeout
        ("grpc.max_reconnect_backoff_ms", 200),
        ("grpc.keepalive_time_ms", 1000),
        ("grpc.http2.ping_timeout_ms", 500),  # keepalive_timeout_ms is ignored by C-core (grpc#39239)
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
    ]


def _told(entry: wire.RepositoryIndexResponse.ModelIndex) -> str:
    why = entry.reason if entry.reason.endswith((".", "?")) else f"{entry.reason}."
    name = f"{entry.name} {entry.version}".rstrip()
    return f"Model {name} is {entry.state}" + (f": {why}" if entry.reason else "; try again in a moment.")
