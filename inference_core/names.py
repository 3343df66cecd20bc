"""The one pattern for each kind of name that arrives from outside."""

from __future__ import annotations

import re
import uuid

MODEL = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
"""Model names and versions: safe as a folder, a URL segment, a metric label and a log field."""

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
"""Request ids that a client may choose; others are replaced."""


def is_model_name(text: str) -> bool:
    """Tell whether a model or version may be called that."""
    return MODEL.fullmatch(text) is not None


def request_id_from(offered: str) -> str:
    """Return the request id that a client offered, or a new one (UUID 4, 32 hex digits) where it may not be kept."""
    return offered if is_request_id(offered) else uuid.uuid4().hex


def is_request_id(text: str) -> bool:
    """Tell whether a client's request id may be kept."""
    return REQUEST_ID.fullmatch(text) is not None
