"""The tree of expected errors. Each carries a sentence for the client; borders map the class to a status.

::

    InferenceHubError
    ├── ConfigurationError   settings or a model's description cannot be used; ends a start
    ├── InvalidInput         the request can never succeed as it stands
    │   ├── InputTooLarge    more bytes than the settings allow
    │   ├── SlowInput        the body did not arrive in time
    │   ├── WrongSignature   inputs that the model does not take, whatever is in them
    │   ├── UnsupportedInput a content type or encoding that is not read here
    │   └── NotOffered       a feature of a protocol that is not there
    ├── UnknownModel         no such model or version
    ├── Unavailable          nobody can answer now; worth another try later
    │   ├── NoWorker         no inference worker is ready
    │   └── Overloaded       accepting this request would only make it late
    ├── DeadlineExceeded     the time the client gave is over
    ├── ClientLeft           nobody waits for the answer any more
    └── ModelFailed          the model or its worker failed on this request
        └── WorkerKiller     the workers that ran this request died of it

Anything else that escapes is unexpected: the client gets a fixed sentence, the log gets the traceback.
"""

from __future__ import annotations

import math

LONGEST_RETRY_SECONDS = 30


def retry_seconds(wait_seconds: float) -> int:
    """Return after how many whole seconds who would have waited so long may try again."""
    return max(1, min(LONGEST_RETRY_SECONDS, math.ceil(wait_seconds)))


def let_go(error: BaseException) -> None:
    """Have an error hold nothing of what the functions were working on that it came from.

    gRPC for Python keeps the exception that ends a call in a cycle with that call, and with it the one that it came of:
    a message of many megabytes would stay until a garbage collection, which an idle process does not have.
    """
    error.__traceback__ = error.__cause__ = error.__context__ = None


class InferenceHubError(Exception):
    """Root of the expected errors; `message` is a whole sentence that may be shown to the client."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ConfigurationError(InferenceHubError):
    """Settings or a model's description cannot be used."""


class InvalidInput(InferenceHubError):
    """The request can never succeed as it stands."""


class InputTooLarge(InvalidInput):
    """The request has more bytes than the settings allow."""


class SlowInput(InvalidInput):
    """The request's body did not arrive in time."""


class WrongSignature(InvalidInput):
    """The inputs' names, datatypes or shapes are not the model's, and so for every request of the same batch."""

    reason = "signature"


class UnsupportedInput(InvalidInput):
    """The request's content type or encoding is not read here."""


class NotOffered(InvalidInput):
    """The request needs a feature of its protocol that is not offered here."""


class UnknownModel(InferenceHubError):
    """There is no such model or version."""


class Unavailable(InferenceHubError):
    """Nobody can answer now.

    `retry_after_seconds` is a whole number, as RFC 9110 wants it in Retry-After.
    """

    def __init__(self, message: str, retry_after_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class NoWorker(Unavailable):
    """No inference worker is ready."""


class Overloaded(Unavailable):
    """Accepting this request would only make it late.

    `reason` is one word for logs and metrics; `wait_seconds` is how long it would have waited, 0 where that is unknown.
    """

    def __init__(self, message: str, reason: str = "busy", wait_seconds: float = 0.0) -> None:
        super().__init__(message, retry_seconds(wait_seconds))
        self.reason = reason
        self.wait_seconds = wait_seconds


class DeadlineExceeded(InferenceHubError):
    """The time the client gave is over."""


class ClientLeft(InferenceHubError):
    """Nobody waits for the answer any more; told to the log alone."""


class ModelFailed(InferenceHubError):
    """The model or its worker failed on this request."""


class WorkerKiller(ModelFailed):
    """The workers that ran this request died of it; it is not tried again."""
