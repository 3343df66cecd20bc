"""POST /predict through Falcon, for requests that come in pieces or are unusual; see `direct` for the others."""

from __future__ import annotations

import falcon
from falcon.asgi import Request, Response

from gateway.body import read_json_body
from gateway.calls import Calls
from gateway.leaving import until_client_leaves
from gateway.predictions import Predictions
from inference_core.settings import Gateway


class PredictResource:
    """Reads a body and writes the answer."""

    def __init__(self, predictions: Predictions, calls: Calls, settings: Gateway) -> None:
        self._predictions = predictions
        self._calls = calls
        self._settings = settings

    async def on_post(self, request: Request, response: Response) -> None:
        """Answer with the class of the row or text; raises the expected errors."""
        call = self._calls.begin(request)
        data = await read_json_body(request, self._settings)
        with until_client_leaves(request.scope):
            answer = await self._predictions.answer(data, call)
        response.content_type = falcon.MEDIA_JSON
        response.data = answer
