"""A monolith: FastAPI on uvicorn computes in its own event loop, as a careful author would write it."""

from __future__ import annotations

import os

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel

from deploy.bench.peers.work import VARIABLE, load

predict = load(os.environ[VARIABLE])
app = FastAPI()


class Request(BaseModel):
    """One row."""

    features: list[float]
    model_name: str = ""


class Answer(BaseModel):
    """Its class."""

    class_id: int
    confidence: float


# `async def`, because a hop to a thread costs more than the work.
@app.post("/predict")
async def answer(request: Request) -> Answer:
    """Compute on the event loop."""
    class_id, confidence = predict(np.array([request.features], np.float32))
    return Answer(class_id=int(class_id[0]), confidence=float(confidence[0]))
