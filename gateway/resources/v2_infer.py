"""POST /v2/models/{model}[/versions/{version}]/infer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import falcon
import msgspec
from falcon.asgi import Request, Response

from gateway.calls import Calls
from gateway.leaving import until_client_leaves
from gateway.v2 import rest
from gateway.v2.binary import HEADER, header_length
from gateway.v2.body import LEAST_PACKED_BYTES, accepted_coding, packed, read_body
from gateway.v2.documents import ModelMetadata
from gateway.v2.inferences import Inferences
from gateway.v2.models import Models
from gateway.v2.plain import plain
from inference_core.errors import InvalidInput
from inference_core.settings import Gateway
from inference_core.tensors import Buffer

OCTETS = "application/octet-stream"
PIECE_BYTES = 256 * 1024


class InferResource:
    """Reads a body and writes the answer."""

    def __init__(self, inferences: Inferences, models: Models, calls: Calls, settings: Gateway) -> None:
        self._calls = calls
        self._inferences = inferences
        self._models = models
        self._settings = settings

    async def on_post(self, request: Request, response: Response, model: str, version: str = "") -> None:
        """Answer with the outputs that are wanted, in JSON or binary; raises the expected errors."""
        call = self._calls.begin(request)
        body = await read_body(request, self._settings)
        with until_client_leaves(request.scope):
            self._inferences.check(model, version, call)
            asking = await self._read(request, body, model, version)
            inference = await self._inferences.answer(model, version, asking.asked, call)
            del body
        answer = rest.written(asking, inference)
        del asking, inference
        await _write(response, answer, accepted_coding(request.get_header("Accept-Encoding")))

    async def _read(self, request: Request, body: memoryview, model: str, version: str) -> rest.Asking:
        header = request.get_header(HEADER)
        length = header_length(header, len(body))
        if length or header is None:
            return rest.read(body, length)
        if (request.content_type or "").partition(";")[0].strip().lower() == falcon.MEDIA_JSON:
            raise InvalidInput(
                f"{HEADER} says that the body has no JSON, and Content-Type that it is; send one of the two."
            )
        metadata = msgspec.convert(plain(await self._models.metadata(model, version)), ModelMetadata)
        return rest.read_only_tensor(body, metadata)


async def _write(response: Response, answer: rest.Answer, coding: str) -> None:
    parts, size = answer.parts, sum(map(len, answer.parts))
    response.content_type = falcon.MEDIA_JSON
    if answer.json_bytes is not None:
        response.content_type = OCTETS
        response.set_header(HEADER, str(answer.json_bytes))
    response.append_header("Vary", "Accept-Encoding")
    if coding and size >= LEAST_PACKED_BYTES:
        parts = await asyncio.to_thread(packed, parts, coding)
        size = sum(map(len, parts))
        response.set_header("Content-Encoding", coding)
    if size <= PIECE_BYTES:
        response.data = b"".join(parts)
    else:
        response.content_length = size
        response.stream = _pieces(parts)


async def _pieces(parts: Sequence[Buffer]) -> AsyncIterator[bytes]:
    # The server takes the next one when the client has read enough of those before, so no whole copy is made.
    for part in parts:
        view = memoryview(part)
        for start in range(0, len(view), PIECE_BYTES):
            yield bytes(view[start : start + PIECE_BYTES])
