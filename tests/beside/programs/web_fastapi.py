import contextlib

from fastapi import FastAPI
from inngest_connect import connect
from shop import apps


@contextlib.asynccontextmanager
async def lifespan(app):
    async with connect(apps):
        yield


app = FastAPI(lifespan=lifespan)
