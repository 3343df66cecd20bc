"""Gunicorn's settings; run in the arbiter, so nothing here may touch grpc or build spans (neither survives a fork)."""

from __future__ import annotations

bind = "fd://0"  # the listening socket is supervisord's, so that a restart refuses nobody
worker_class = "gateway.http_worker.GatewayWorker"
workers = 1
logger_class = "gateway.gunicorn_log.GunicornLogger"
accesslog = None
graceful_timeout = 15
timeout = 30
backlog = 2048
preload_app = False
control_socket_disable = True
proc_name = "inference-hub-gateway"
umask = 0o077
