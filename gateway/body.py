"""Reads a request's body within the limits of size and time, before anything parses it."""

from __future__ import annotations

import asyncio

from falcon.asgi import Request

from inference_core.errors import InputTooLarge, InvalidInput, SlowInput, UnsupportedInput
from inference_core.settings import Gateway

JSON = "application/json"
BLOCK_BYTES = 1024 * 1024


async def read_json_body(request: Request, settings: Gateway) -> bytes:
    """Return the body of a JSON request.

    Raises UnsupportedInput for another content type or any content encoding, InputTooLarge as soon as the declared
    or received length passes `max_body_bytes`, SlowInput after `body_deadline` seconds, InvalidInput when empty.
    """
    _check_type(request)
    limit = settings.max_body_bytes
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(settings.body_deadline):
            body = await _read(request, limit)
    except TimeoutError as error:
        raise SlowInput(f"The body did not arrive within {settings.body_deadline:g} s; send it faster.") from error
    if not body:
        raise InvalidInput('The body is empty; send JSON such as {"features": [1.0, 2.0]}.')
    return body


def _check_type(request: Request) -> None:
    media = (request.content_type or "").partition(";")[0].strip().lower()
    if media != JSON:
        raise UnsupportedInput(f"Send the body as JSON, with the header Content-Type: {JSON}.")
    if (request.get_header("Content-Encoding") or "identity").strip().lower() != "identity":
        raise UnsupportedInput("Compressed bodies are not read here; send the body without Content-Encoding.")


async def _read(request: Request, limit: int) -> bytes:
    # One growing buffer is copied when the heap has no room behind it: up to twice the limit for an unfinished body.
    blocks, received = [bytearray()], 0
    async for chunk in request.stream:
        received += len(chunk)
        if received > limit:
            raise _too_large(limit)
        if len(blocks[-1]) >= BLOCK_BYTES:
            blocks.append(bytearray())
        blocks[-1] += chunk
    return b"".join(blocks)


def _too_large(limit: int) -> InputTooLarge:
    return InputTooLarge(f"The body is larger than {limit} bytes; send fewer rows in one request.")
