import asyncio

from inngest_connect import connect
from loguru import logger
from shop import apps

if __name__ == "__main__":
    asyncio.run(connect(apps, logger=logger).start())
