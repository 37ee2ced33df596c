from aiohttp import web
from inngest_connect import connect
from shop import apps


async def worker(app):
    async with connect(apps):
        yield


app = web.Application()
app.cleanup_ctx.append(worker)

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=0)
