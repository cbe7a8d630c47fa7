"""A worker as a process, without the command line: settings from the environment, a line when it is ready, SIGTERM drains.

Started by `processes.py`. The tests speak to it with signals and failpoints only.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from barnabas.worker.process import Worker
from barnabas.worker.settings import Settings

from tests.chaos.app import app


async def main() -> None:
    loop = asyncio.get_running_loop()
    worker = Worker(app, Settings(), _say_ready)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    await worker.run()


def _say_ready() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr)
    asyncio.run(main())
