import asyncio

from inngest_connect import connect
from shop import apps

if __name__ == "__main__":
    asyncio.run(connect(apps).start())
