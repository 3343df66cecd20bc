"""The origin's contract without HTTP: a JSON body in, a JSON answer out; one row of numbers or one text, one class."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from gateway.call import Call
from gateway.dispatch import Answering
from gateway.traffic import Traffic
from inference_core.admission import Verdict
from inference_core.classification import NOT_NUMBERS, classification_of, features_input, prompt_input
from inference_core.deadline import Deadline
from inference_core.errors import InvalidInput
from inference_core.inference import Inference
from inference_core.names import is_model_name
from inference_core.settings import Predict
from inference_core.tensors import Arrays

EXAMPLE = '{"features": [1.0, 2.0]} or {"prompt": "some text"}, with an optional "model_name"'
LONGEST_REASON = 200


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """What a client sends; of a key that is given twice the last one wins."""

    features: list[float] | UnsetType = UNSET
    prompt: str | UnsetType = UNSET
    model_name: str = ""


class Answer(msgspec.Struct, frozen=True):
    """What it gets: the origin's three fields, then ours."""

    class_id: int
    confidence: float
    error: str
    label: str
    model_name: str
    model_version: str


class Predictions:
    """Turns a body into a row, a row into an answer."""

    def __init__(self, traffic: Traffic, defaults: Predict) -> None:
        self._traffic = traffic
        self._defaults = defaults
        self._decoder = msgspec.json.Decoder(Body)
        self._encoder = msgspec.json.Encoder()

    async def answer(self, data: bytes, call: Call) -> bytes:
        """Return the answer to a body; raises the expected errors."""
        model, inputs, version = self._admitted(data, call)
        call.deadline.check()
        return self.told(await self._traffic.infer(model, inputs, call, version))

    def ask(self, data: bytes, call: Call) -> Answering | None:
        """Begin to answer a body: `told` makes the answer of what comes. None where only `answer` can.

        Raises the expected errors.
        """
        model, inputs, version = self._admitted(data, call)
        return self._traffic.ask(model, inputs, call, version) if self._traffic.knows(model, version) else None

    @property
    def is_refusing(self) -> bool:
        """Whether the last request was refused, so that others will be, too."""
        return self._traffic.is_refusing

    def verdict(self, data: bytes, deadline: Deadline, *, background: bool) -> tuple[str, Verdict | None]:
        """Return the model that a body asks, and why it is refused before anything is made of it; raises InvalidInput.

        None where it may come in, and where only `ask` can tell.
        """
        model = self._model(self.parsed(data))
        return model, self._traffic.verdict(model, deadline, background=background)

    def _admitted(self, data: bytes, call: Call) -> tuple[str, Arrays, str]:
        body = self.parsed(data)
        model = self._model(body)
        version = self._traffic.route(model, call)
        if self._traffic.is_refusing:
            self._traffic.check(model, call, version)
        elif self._traffic.knows(model, version):
            call.model = model  # whatever becomes of it is this model's
        return *self.asked(body), version

    def _model(self, body: Body) -> str:
        defaults = self._defaults
        return body.model_name or (defaults.prompt_model if body.features is UNSET else defaults.features_model)

    def told(self, inference: Inference) -> bytes:
        """Return the answer that says what a model said; raises InvalidInput or ModelFailed where it said no class."""
        found = classification_of(inference.model, inference.outputs)
        return self._encoder.encode(
            Answer(found.class_id, found.confidence, "", found.label, inference.model, inference.version)
        )

    def parsed(self, data: bytes) -> Body:
        """Return the body as a value; raises InvalidInput."""
        # msgspec reports bad UTF-8 and deep nesting by exceptions that are not its own DecodeError.
        try:
            return self._decoder.decode(data)
        except msgspec.ValidationError as error:
            raise InvalidInput(_mistake(str(error))) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInput(f"The body is not valid JSON; send {EXAMPLE}.") from error

    def asked(self, body: Body) -> tuple[str, Arrays]:
        """Return the model that is meant and its inputs; raises InvalidInput."""
        if body.model_name and not is_model_name(body.model_name):
            raise InvalidInput("model_name has letters, digits, '.', '_' and '-', at most 128 in all.")
        if body.features is not UNSET and body.prompt is UNSET:
            return body.model_name or self._defaults.features_model, features_input(body.features)
        if body.prompt is not UNSET and body.features is UNSET:
            return body.model_name or self._defaults.prompt_model, prompt_input(body.prompt)
        raise InvalidInput(f"Send either features or a prompt: {EXAMPLE}.")


def _mistake(reason: str) -> str:
    if "`$.features" in reason:
        return NOT_NUMBERS
    # It repeats the client's own key, which may be as long as a body.
    return f"{reason if len(reason) <= LONGEST_REASON else f'{reason[:LONGEST_REASON]}...'}; send {EXAMPLE}."
