import asyncio
import logging
import sys

from inngest_connect import connect
from loguru import logger
from shop import apps


class ToLoguru(logging.Handler):
    def emit(self, record):
        logger.opt(exception=record.exc_info).log(record.levelname, record.getMessage())


logger.remove()
logger.add(sys.stderr, format="loguru: {message}")
logging.basicConfig(handlers=[ToLoguru()], level=logging.INFO)

if __name__ == "__main__":
    asyncio.run(connect(apps).start())
