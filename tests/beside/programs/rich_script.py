import asyncio
import logging

from inngest_connect import connect
from rich.logging import RichHandler
from shop import apps

logging.basicConfig(handlers=[RichHandler()], level=logging.INFO)

if __name__ == "__main__":
    asyncio.run(connect(apps).start())
