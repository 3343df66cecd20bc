"""What supervisord.conf needs to know of the settings, as environment variables."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from inference_core.settings import CHECKOUT, DEFAULT_FILE, VARIABLE, Settings

CONFIGURATION = CHECKOUT / "supervisord.conf"
TOOLS = "INFERENCEHUB_TOOLS"


def environment(settings: Settings) -> dict[str, str]:
    """Return this process's environment with the variables that supervisord.conf expands."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    gateway = settings.gateway
    return {
        **os.environ,
        TOOLS: os.environ.get(TOOLS) or str(cache / "inference-hub"),
        VARIABLE: os.environ.get(VARIABLE) or str(DEFAULT_FILE),
        "INFERENCEHUB_BIN": str(Path(sys.executable).parent),
        "INFERENCEHUB_RUN": str(settings.run_folder),
        "INFERENCEHUB_GATEWAY_ADDRESS": f"{gateway.host}:{gateway.port}",
        "INFERENCEHUB_GATEWAY_PROCESSES": str(gateway.processes),
        "INFERENCEHUB_WORKERS": str(settings.inference.workers),
    }
