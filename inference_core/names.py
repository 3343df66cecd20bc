"""Names: the one pattern for each kind that arrives from outside, and those that gateway and worker must agree on."""

from __future__ import annotations

import os
import random
import re

MODEL = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
"""Model names and versions: safe as a folder, a URL segment, a metric label and a log field."""

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
"""Request ids that a client may choose; others are replaced."""

SERVICE = "inference.GRPCInferenceService"
INFER = f"{SERVICE}/ModelInfer"
"""The Open Inference Protocol's service and its method, as spans and logs call them."""

INFER_PATH = f"/{INFER}"
"""The same on the wire."""

MODELS_REVISION = "models-revision"
"""The metadata of a worker's repository index that changes whenever what can be asked of it does."""

_FIXED_BITS, _VERSION_4 = 0xF000_C000_0000_0000_0000, 0x4000_8000_0000_0000_0000
"""Version and variant of a UUID (RFC 9562, section 5.4)."""

_random = random.Random(random.SystemRandom().getrandbits(128))  # noqa: S311  # identifiers, not secrets
os.register_at_fork(after_in_child=_random.seed)  # gunicorn's arbiter imports this, and its workers must differ


def is_model_name(text: str) -> bool:
    """Tell whether a model or version may be called that."""
    return MODEL.fullmatch(text) is not None


def request_id_from(offered: str) -> str:
    """Return the request id that a client offered, or a new one (UUID 4, 32 hex digits) where it may not be kept."""
    return offered if offered and is_request_id(offered) else _uuid4()


def _uuid4() -> str:
    # As uuid.uuid4().hex, at a tenth of its cost: an id has to be unique, not secret.
    bits = _random.getrandbits(128) & ~_FIXED_BITS | _VERSION_4
    return f"{bits:032x}"


def is_request_id(text: str) -> bool:
    """Tell whether a client's request id may be kept."""
    return REQUEST_ID.fullmatch(text) is not None
