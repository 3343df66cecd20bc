"""What gunicorn loads in each gateway process: the application, built at import."""

from __future__ import annotations

from gateway.app import create_app
from inference_core import settings

app = create_app(settings.load(), serves_grpc=True)
