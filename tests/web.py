"""httpx for tests, none of which speaks TLS: it would load the authorities' certificates for every client, in 37 ms."""

from __future__ import annotations

import ssl
from functools import partial

import httpx

NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

get = partial(httpx.get, verify=NO_AUTHORITIES)
post = partial(httpx.post, verify=NO_AUTHORITIES)
delete = partial(httpx.delete, verify=NO_AUTHORITIES)
stream = partial(httpx.stream, verify=NO_AUTHORITIES)
client = partial(httpx.Client, verify=NO_AUTHORITIES)
async_client = partial(httpx.AsyncClient, verify=NO_AUTHORITIES)
