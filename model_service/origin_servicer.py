"""The origin's gRPC contract, /ModelInference/Predict, on the worker."""

from __future__ import annotations

from inference_core.classification import classification_of, features_input, prompt_input
from inference_core.errors import InvalidInput
from inference_core.settings import Predict
from inference_core.tensors import Arrays
from inference_pb import inference_pb2 as wire
from inference_pb.inference_pb2_grpc import ModelInferenceServicer
from model_service.call import CURRENT
from model_service.engine import Engine
from model_service.servicer import Context, deadline_of


class OriginServicer(ModelInferenceServicer):
    """Classifies one row of numbers or one text."""

    def __init__(self, engine: Engine, defaults: Predict, default_deadline: float) -> None:
        self._engine = engine
        self._defaults = defaults
        self._default_deadline = default_deadline

    async def Predict(self, request: wire.PredictRequest, context: Context) -> wire.PredictResponse:
        """Answer with the class of one observation; failures travel as status, `error` stays empty."""
        deadline = deadline_of(context, self._default_deadline)
        model, inputs = self._asked(request)
        result = await self._engine.infer(request.model_name or model, "", inputs, deadline, CURRENT.get())
        classification = classification_of(result.model, result.outputs)
        return wire.PredictResponse(
            class_id=classification.class_id,
            confidence=classification.confidence,
            label=classification.label,
            model_name=result.model,
            model_version=result.version,
        )

    def _asked(self, request: wire.PredictRequest) -> tuple[str, Arrays]:
        if bool(request.features) == bool(request.prompt):
            raise InvalidInput("Send either features or a prompt.")
        if request.prompt:
            return self._defaults.prompt_model, prompt_input(request.prompt)
        return self._defaults.features_model, features_input(request.features)
