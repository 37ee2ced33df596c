"""Runs cells in a kernel, as a notebook does."""

import asyncio
import signal

from jupyter_client.manager import start_new_async_kernel

START = """
import asyncio
from inngest_connect import connect
from shop import apps

worker = connect(apps, shutdown_signals=[])
running = asyncio.create_task(worker.start())
"""
END = "await worker.close(wait=True)"


async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    manager, client = await start_new_async_kernel()
    for cell in (START, END, START):
        await run(client, cell)
    await stop.wait()
    await run(client, END)
    client.stop_channels()
    await manager.shutdown_kernel()


async def run(client, cell):
    reply = await client.execute_interactive(cell)
    if reply["content"]["status"] != "ok":
        raise SystemExit("\n".join(reply["content"]["traceback"]))


if __name__ == "__main__":
    asyncio.run(main())
