"""The process of a worker, which the supervisor starts: the Faust app, until SIGTERM or the first error.

Settings come as JSON in the environment, as the supervisor has read and checked them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Coroutine
from typing import Any

import msgspec

from apss_fusion.streaming.app import FAILED, WATCH_S, FusionApp, make_app
from apss_fusion.streaming.deployment import read_deployment
from apss_fusion.streaming.http import PortError, serve
from apss_fusion.streaming.logs import set_up_logs
from apss_fusion.streaming.settings import Settings
from apss_fusion.streaming.supervisor import PARENT, SETTINGS, UNUSABLE

# Here __name__ is that of the program.
_LOG = logging.getLogger("apss_fusion.streaming.process")
_ORPHAN_CHECK_S = 1.0


def main() -> int:
    """Run; returns 0 after SIGTERM, else the status of a failure."""
    settings = msgspec.json.decode(os.environ[SETTINGS], type=Settings)
    set_up_logs(settings.worker.log_format, settings.worker.log_level)
    app = make_app(read_deployment(settings))
    parent = os.environ.get(PARENT)
    if parent:
        threading.Thread(target=_end_without, args=(int(parent),), daemon=True).start()
    return asyncio.run(_run(app))


def _end_without(parent: int) -> None:
    """End this process when its supervisor is gone, also when that was killed."""
    wait = threading.Event()
    while os.getppid() == parent:
        wait.wait(_ORPHAN_CHECK_S)
    os._exit(FAILED)


async def _run(app: FusionApp) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runner = None
    if app.settings.worker.http_port != 0:
        try:
            runner = await serve(app)
        except PortError as error:
            _LOG.error("ends: %s", error)
            return UNUSABLE
    # From the beginning on: also a start may hang.
    watching = asyncio.ensure_future(_watch(app))
    starting = asyncio.ensure_future(app.start())
    await _first(stop.wait(), _ended(app, starting))
    watching.cancel()
    # Whatever hangs from here on, also what Faust and asyncio do after a crash: the process ends.
    deadline = threading.Timer(app.settings.worker.stop_s, os._exit, (FAILED,))
    deadline.daemon = True
    deadline.start()
    if app.crash_reason is not None:
        _LOG.error("ends: %s", app.crash_reason)
        # Nothing that is not safe yet can be made safe in order.
        return FAILED
    _LOG.info("stops")
    await app.settle()
    await app.stop()
    for lane in app.lanes.values():
        await lane.close()
    if runner is not None:
        await runner.cleanup()
    return 0


async def _watch(app: FusionApp) -> None:
    """See that the worker gets on."""
    while True:
        await asyncio.sleep(WATCH_S)
        await app.watch()


async def _ended(app: FusionApp, starting: asyncio.Future[Any]) -> None:
    await starting
    await app.wait_until_stopped()


async def _first(*waits: Coroutine[Any, Any, Any]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # Threads of the consumer may still wait for a broker.
    os._exit(status)
