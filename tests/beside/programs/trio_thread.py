import signal

import trio
from inngest_connect import connect
from shop import apps


async def main():
    worker = connect(apps)
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, worker.run)
            async for _ in signals:
                await trio.to_thread.run_sync(worker.close_sync)
                break


if __name__ == "__main__":
    trio.run(main)
