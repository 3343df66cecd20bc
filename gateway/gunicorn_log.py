"""Gunicorn's messages in our log pipeline."""

from __future__ import annotations

import logging
import os
from typing import Any

from gunicorn.glogging import Logger

from inference_core import settings
from otel import logs

MEMBER = "INFERENCEHUB_MEMBER"


class GunicornLogger(Logger):  # type: ignore[misc] # gunicorn ships no types
    """Leaves formatting to the root logger; gunicorn calls `setup` again on SIGHUP, so it repeats without harm."""

    def setup(self, cfg: Any) -> None:
        """Route gunicorn's loggers to the pipeline of this process."""
        self.cfg = cfg
        logs.configure("gateway", settings.load().telemetry.log_level, member=os.environ.get(MEMBER, ""))
        for logger in (self.error_log, self.access_log):
            logger.handlers = []
            logger.propagate = True
            logger.setLevel(logging.NOTSET)
