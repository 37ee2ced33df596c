import anyio
from inngest_connect import connect
from shop import apps


async def main():
    async with anyio.create_task_group() as group:
        group.start_soon(connect(apps).start)


if __name__ == "__main__":
    anyio.run(main)
