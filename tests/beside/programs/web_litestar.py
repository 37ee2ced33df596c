import contextlib

from inngest_connect import connect
from litestar import Litestar
from shop import apps


@contextlib.asynccontextmanager
async def lifespan(app):
    async with connect(apps):
        yield


app = Litestar([], lifespan=[lifespan])
