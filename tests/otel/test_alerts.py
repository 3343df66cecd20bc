"""otel/prometheus.yml and otel/alerts.yml, by the real promtool: valid, and each alert fires when it should."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from inference_core.settings import CHECKOUT
from tests.tools import tool

CASES = Path(__file__).parent / "alerts_test.yml"


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "otel/prometheus.yml"),
        ("check", "rules", "--lint-fatal", "otel/alerts.yml"),
        ("test", "rules", str(CASES)),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_promtool_agrees(arguments: tuple[str, ...]) -> None:
    """Configuration and rules are valid, and the cases of tests/otel/alerts_test.yml hold."""
    done = subprocess.run([tool("promtool"), *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case() -> None:
    """No alert is without a case in which it fires."""
    rules = (CHECKOUT / "otel" / "alerts.yml").read_text()
    alerts = {line.split()[-1] for line in rules.splitlines() if "- alert:" in line}
    fired = CASES.read_text().split("alertname: ")[1:]
    firing = {case.split()[0] for case in fired if "exp_labels" in case.partition("alertname")[0]}
    assert len(alerts) == 8
    assert firing == alerts
