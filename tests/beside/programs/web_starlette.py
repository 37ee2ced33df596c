import contextlib

from inngest_connect import connect
from shop import apps
from starlette.applications import Starlette


@contextlib.asynccontextmanager
async def lifespan(app):
    async with connect(apps):
        yield


app = Starlette(lifespan=lifespan)
