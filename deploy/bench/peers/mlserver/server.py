"""MLServer with a runtime of its own for the shared work; its codecs turn V2 JSON into arrays and back."""

from __future__ import annotations

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from deploy.bench.peers.work import load


class Classifier(MLModel):
    """The work that the model is named for."""

    async def load(self) -> bool:
        """Load it."""
        self._predict = load(self.name)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Compute on the event loop: the work is shorter than a hop to a thread."""
        class_id, confidence = self._predict(NumpyCodec.decode_input(payload.inputs[0]))
        outputs = [NumpyCodec.encode_output("class_id", class_id), NumpyCodec.encode_output("confidence", confidence)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
