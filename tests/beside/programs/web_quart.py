from inngest_connect import connect
from quart import Quart
from shop import apps

app = Quart(__name__)


@app.while_serving
async def worker():
    async with connect(apps):
        yield
