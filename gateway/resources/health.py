"""GET /health and GET /ready: is the gateway there, and can it answer predictions."""

from __future__ import annotations

from collections.abc import Mapping

import falcon
import msgspec
from falcon.asgi import Request, Response

from gateway.workers import Workers
from inference_core.settings import Predict
from inference_pb import open_inference_pb2 as wire


class Health(msgspec.Struct):
    """That the gateway runs, and where it looks for its workers."""

    status: str
    grpc_target: str


class Readiness(msgspec.Struct):
    """Whether all models can be asked; for each the workers that have it; and what is missing."""

    ready: bool
    models: dict[str, list[int]]
    reasons: list[str]


class HealthResource:
    """The gateway's own life, whatever the workers do."""

    def __init__(self, workers: Workers) -> None:
        self._answer = msgspec.json.encode(Health("Gateway is running", workers.target))

    async def on_get(self, _: Request, response: Response) -> None:
        """Answer 200 while the event loop turns."""
        response.content_type = falcon.MEDIA_JSON
        response.data = self._answer

    on_head = on_get


class ReadyResource:
    """Whether every model can be asked now, from what live workers say."""

    def __init__(self, workers: Workers, defaults: Predict) -> None:
        self._workers = workers
        self._defaults = {defaults.prompt_model: "predict.prompt_model"}
        self._defaults |= {defaults.features_model: "predict.features_model"}

    async def on_get(self, _: Request, response: Response) -> None:
        """Answer 200, or 503 with the reasons."""
        report = _report(await self._workers.indexes(), self._defaults)
        response.status = falcon.HTTP_200 if report.ready else falcon.HTTP_503
        if not report.ready:
            response.set_header("Retry-After", "1")
        response.content_type = falcon.MEDIA_JSON
        response.data = msgspec.json.encode(report)

    on_head = on_get


def _report(indexes: list[wire.RepositoryIndexResponse | None], needed: Mapping[str, str]) -> Readiness:
    ready_slots: dict[str, list[int]] = {name: [] for name in needed}
    awaited = set(needed)
    reasons: list[str] = []
    for slot, index in enumerate(indexes):
        if index is None:
            reasons.append(f"worker {slot} does not answer")
        for model in index.models if index else ():
            slots = ready_slots.setdefault(model.name, [])
            if model.state == "READY":
                slots.append(slot)
            else:
                reasons.append(f"worker {slot}: {model.name} {model.version} is {model.state}: {model.reason}")
                # What loads is worth waiting for; a model that is broken or unloaded keeps no other from its work.
                awaited |= {model.name} if model.state == "LOADING" else set()
    missing = sorted(name for name, slots in ready_slots.items() if not slots and name in awaited)
    reasons += [f"no worker is ready for {name}{_wanted_by(name, needed)}" for name in missing]
    return Readiness(not missing, ready_slots, reasons)


def _wanted_by(name: str, needed: Mapping[str, str]) -> str:
    return f", which {needed[name]} names" if name in needed else ""
