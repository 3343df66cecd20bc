from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class PredictRequest(_message.Message):
    __slots__ = ("features", "model_name", "prompt")
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    features: _containers.RepeatedScalarFieldContainer[float]
    model_name: str
    prompt: str
    def __init__(self, features: _Optional[_Iterable[float]] = ..., model_name: _Optional[str] = ..., prompt: _Optional[str] = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ("class_id", "confidence", "error", "label", "model_name", "model_version")
    CLASS_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    class_id: int
    confidence: float
    error: str
    label: str
    model_name: str
    model_version: str
    def __init__(self, class_id: _Optional[int] = ..., confidence: _Optional[float] = ..., error: _Optional[str] = ..., label: _Optional[str] = ..., model_name: _Optional[str] = ..., model_version: _Optional[str] = ...) -> None: ...
