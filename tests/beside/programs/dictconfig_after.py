import asyncio
import logging.config

from inngest_connect import connect
from shop import apps

LOGGING = {
    "version": 1,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}

if __name__ == "__main__":
    worker = connect(apps)
    logging.config.dictConfig(LOGGING)
    asyncio.run(worker.start())
