"""How a server is asked and how its answers are read."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from deploy.bench.peers import work as shared_work
from inference_core.errors import ConfigurationError

BODIES = 64
TOLERANCE = 1e-4  # servers print floats with different care


@dataclass(frozen=True)
class Answer:
    """One row's class; `confidence` lies between 0 and 1."""

    class_id: int
    confidence: float


class Form(Protocol):
    """The HTTP form of a prediction."""

    def path(self, work: str) -> str:
        """Return the path that takes it."""

    def body(self, work: str, features: Sequence[float]) -> dict[str, Any]:
        """Return the JSON document that asks for one row."""

    def answer(self, document: Any) -> Answer:
        """Return what the JSON document of an answer says; raises KeyError, IndexError or TypeError if nothing."""


class Predict:
    """The origin's contract: POST /predict."""

    def path(self, work: str) -> str:  # noqa: ARG002  # one path for all
        """As `Form.path`."""
        return "/predict"

    def body(self, work: str, features: Sequence[float]) -> dict[str, Any]:
        """As `Form.body`."""
        return {"features": list(features), "model_name": work}

    def answer(self, document: Any) -> Answer:
        """As `Form.answer`."""
        return Answer(document["class_id"], document["confidence"])


class OpenInference:
    """The Open Inference Protocol, V2, over REST with JSON tensors."""

    def path(self, work: str) -> str:
        """As `Form.path`."""
        return f"/v2/models/{work}/infer"

    def body(self, work: str, features: Sequence[float]) -> dict[str, Any]:  # noqa: ARG002  # the path has the name
        """As `Form.body`."""
        tensor = {"name": "features", "shape": [1, len(features)], "datatype": "FP32", "data": list(features)}
        return {"inputs": [tensor]}

    def answer(self, document: Any) -> Answer:
        """As `Form.answer`."""
        outputs = {output["name"]: output["data"] for output in document["outputs"]}
        return Answer(outputs["class_id"][0], outputs["confidence"][0])


@dataclass(frozen=True)
class Questions:
    """The requests of one work in one form, and what the shared work itself answers to each."""

    path: str
    bodies: tuple[str, ...]
    expected: tuple[Answer, ...]
    form: Form

    @classmethod
    def of(cls, work: str, form: Form) -> Questions:
        """Draw the fixed rows of that work and compute their answers here."""
        rows: NDArray[np.float32] = shared_work.rows(work, BODIES)
        class_ids, confidences = shared_work.load(work)(rows)
        # Through their shortest decimal form: 1.234 is to be sent, not 1.2339999675750732.
        texts = [[float(str(number)) for number in row] for row in rows]
        return cls(
            path=form.path(work),
            bodies=tuple(json.dumps(form.body(work, row)) for row in texts),
            expected=tuple(map(Answer, class_ids.tolist(), confidences.tolist())),
            form=form,
        )

    def check(self, index: int, text: str) -> None:
        """Raise ConfigurationError when that is not the answer to the body at this index."""
        try:
            answer = self.form.answer(json.loads(text))
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise ConfigurationError(f"The server's answer cannot be read: {text[:300]}") from error
        expected = self.expected[index]
        is_near = math.isclose(answer.confidence, expected.confidence, abs_tol=TOLERANCE)
        if answer.class_id != expected.class_id or not is_near:
            raise ConfigurationError(f"The server answers {answer}, but the model says {expected}.")
