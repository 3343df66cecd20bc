"""The metrics page is Prometheus' text, from whatever process is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from falcon.asgi import App
from falcon.testing import TestClient
from prometheus_client import CollectorRegistry

from gateway.resources.metrics import MetricsResource
from gateway.tally import Tally
from otel.metrics import GatewayMetrics
from tests.otel.counting import count


def ask(folder: Path) -> tuple[str, str]:
    """Return the page's content type and text."""
    app = App()
    app.add_route("/metrics", MetricsResource(folder, Tally(GatewayMetrics(CollectorRegistry()))))
    answer = TestClient(app).simulate_get("/metrics")
    assert answer.status_code == 200
    return answer.headers["content-type"], answer.text


def test_the_page_has_the_numbers_of_other_processes(tmp_path: Path) -> None:
    """What a worker counted is on the page of a gateway process that counted nothing."""
    count(tmp_path, "inference-0", batches=3)
    content_type, text = ask(tmp_path)
    assert content_type.startswith("text/plain; version=0.0.4")
    assert 'inferencehub_worker_batches_total{model="m",version="1"} 3.0' in text


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_a_page_without_numbers_is_a_page(tmp_path: Path, name: str) -> None:
    """Before anything was counted, or where there is no folder for it, the page is there all the same."""
    (tmp_path / "empty").mkdir()
    assert "inferencehub" not in ask(tmp_path / name)[1]
