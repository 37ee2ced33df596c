import asyncio

import structlog
from inngest_connect import connect
from shop import apps

structlog.configure(processors=[structlog.processors.JSONRenderer()])

if __name__ == "__main__":
    asyncio.run(connect(apps, logger=structlog.get_logger()).start())
