"""The V2 routes that describe the server and its models, and those that load and unload them."""

from __future__ import annotations

from typing import Any

import falcon
import msgspec
from falcon.asgi import Request, Response

from gateway.v2.body import read_body
from gateway.v2.control import repository_parameters
from gateway.v2.documents import IndexRequest, Live, LoadRequest, ModelReady, ServerMetadata, UnloadRequest
from gateway.v2.models import Models, check_names
from gateway.v2.plain import plain
from gateway.v2.rest import decoded
from inference_core.errors import NoWorker
from inference_core.settings import Gateway

NOT_READY = "No inference worker is ready; see GET /ready, and try again."
_index = msgspec.json.Decoder(IndexRequest)
_load, _unload = msgspec.json.Decoder(LoadRequest), msgspec.json.Decoder(UnloadRequest)


def write_json(response: Response, value: Any) -> None:
    """Fill a response with a JSON document."""
    response.content_type = falcon.MEDIA_JSON
    response.data = msgspec.json.encode(value)


class ServerResource:
    """GET /v2, /v2/health/live and /v2/health/ready."""

    def __init__(self, models: Models, metadata: ServerMetadata) -> None:
        self._models = models
        self._metadata = metadata

    async def on_get(self, _: Request, response: Response) -> None:
        """Answer with name, version and extensions."""
        write_json(response, self._metadata)

    async def on_get_live(self, _: Request, response: Response) -> None:
        """Answer 200 while the event loop turns."""
        write_json(response, Live(live=True))

    async def on_get_ready(self, _: Request, response: Response) -> None:
        """Answer 200 while some worker takes work; raises NoWorker."""
        if not self._models.any_ready():
            raise NoWorker(NOT_READY)
        write_json(response, Live(live=True))

    on_head, on_head_live, on_head_ready = on_get, on_get_live, on_get_ready


class ModelResource:
    """GET /v2/models/{model}[/versions/{version}][/ready, /config, /stats]; raises UnknownModel or NoWorker."""

    def __init__(self, models: Models) -> None:
        self._models = models

    async def on_get(self, _: Request, response: Response, model: str, version: str = "") -> None:
        """Answer with versions and signature."""
        found = plain(await self._models.metadata(model, version))
        if not found["properties"]:
            del found["properties"]
        write_json(response, found)

    async def on_get_ready(self, _: Request, response: Response, model: str, version: str = "") -> None:
        """Answer 200 while the model can be asked at some worker."""
        check_names(model, version)
        if not self._models.is_ready(model, version):
            await self._models.metadata(model, version)  # says so where there is none
            raise NoWorker(f"Model {model} is not ready; POST /v2/repository/index says why.")
        write_json(response, ModelReady(model, ready=True))

    async def on_get_config(self, _: Request, response: Response, model: str, version: str = "") -> None:
        """Answer with how the model is run."""
        write_json(response, plain((await self._models.config(model, version)).config))

    async def on_get_stats(self, _: Request, response: Response, model: str = "", version: str = "") -> None:
        """Answer with what was computed, summed over all workers."""
        write_json(response, plain(await self._models.statistics(model, version)))

    on_head, on_head_ready, on_head_config, on_head_stats = on_get, on_get_ready, on_get_config, on_get_stats


class RepositoryResource:
    """POST /v2/repository/index and /v2/repository/models/{model}/load and /unload."""

    def __init__(self, models: Models, settings: Gateway) -> None:
        self._models = models
        self._settings = settings

    async def on_post_index(self, request: Request, response: Response) -> None:
        """Answer with every version of every model and its state."""
        asked = await self._asked(request, _index, '{"ready": true}') or IndexRequest()
        write_json(response, [plain(entry) for entry in await self._models.index(only_ready=asked.ready)])

    async def on_post_load(self, request: Request, _: Response, model: str) -> None:
        """Answer 200 without a body once every worker has the model; raises an error that says which has not."""
        asked = await self._asked(request, _load, '{"parameters": {}}') or LoadRequest()
        await self._models.load(model, repository_parameters(asked.parameters))

    async def on_post_unload(self, request: Request, _: Response, model: str) -> None:
        """Answer 200 without a body once no worker has the model; raises an error that says which has."""
        asked = await self._asked(request, _unload, '{"parameters": {}}') or UnloadRequest()
        await self._models.unload(model, repository_parameters(asked.parameters))

    async def _asked(self, request: Request, decoder: msgspec.json.Decoder[Any], example: str) -> Any:
        body = await read_body(request, self._settings)
        return decoded(decoder, body, example) if len(body) else None
