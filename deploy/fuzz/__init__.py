"""Requests that schemathesis makes of /openapi.json, valid and invalid ones, against a system of their own."""
