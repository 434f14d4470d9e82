"""What a worker answers over HTTP: ``/metrics``, ``/healthz``, ``/readyz``."""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

if TYPE_CHECKING:
    from apss_fusion.streaming.app import FusionApp

_LOG = logging.getLogger(__name__)
DEFAULT_PORT = 6066


class PortError(OSError):
    """The port that was asked for cannot be used; the message says which."""


async def serve(app: FusionApp) -> web.AppRunner:
    """Serve a worker's state; where the default port is taken, at a free one. `PortError` where the port was asked for."""

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(app.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(request: web.Request) -> web.Response:
        return _answer(app.is_healthy)

    async def readyz(request: web.Request) -> web.Response:
        return _answer(app.is_ready)

    pages = web.Application()
    pages.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz), web.get("/readyz", readyz)])
    runner = web.AppRunner(pages, access_log=None)
    await runner.setup()
    settings = app.settings.worker
    port = DEFAULT_PORT if settings.http_port is None else settings.http_port
    try:
        await web.TCPSite(runner, settings.http_host, port).start()
    except OSError as error:
        if settings.http_port is not None or error.errno != errno.EADDRINUSE:
            await runner.cleanup()
            raise PortError(f"{settings.http_host}:{port}: {error.strerror}") from None
        await web.TCPSite(runner, settings.http_host, 0).start()
    host, port = runner.addresses[0][:2]
    _LOG.info("metrics at %s:%d", host, port)
    return runner


def _answer(good: bool) -> web.Response:
    return web.Response(text="ok\n" if good else "no\n", status=200 if good else 503)
