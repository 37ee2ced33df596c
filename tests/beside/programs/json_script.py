import asyncio
import logging

from inngest_connect import connect
from pythonjsonlogger.json import JsonFormatter
from shop import apps

handler = logging.StreamHandler()
handler.setFormatter(JsonFormatter())
logging.basicConfig(handlers=[handler], level=logging.INFO)

if __name__ == "__main__":
    asyncio.run(connect(apps).start())
