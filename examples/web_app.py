"""A FastAPI application and its worker in one process.

    pip install "inngest-connect[status]" fastapi
    inngest-connect gateway          # in another terminal
    python examples/web_app.py
    curl -X POST http://127.0.0.1:8000/orders/7
    curl http://127.0.0.1:8000/worker/readyz

The worker connects while the application starts, and has finished its work when the application
ends. http://127.0.0.1:8000/worker/ shows what it does. After SIGTERM uvicorn ends by that signal:
the exit code is 143.
"""

import contextlib
import logging
import os
from collections.abc import AsyncIterator

import inngest
import uvicorn
from fastapi import FastAPI

from inngest_connect import connect
from inngest_connect.status import status_app

client = inngest.Inngest(app_id="web", is_production=False)


@client.create_function(fn_id="confirm", trigger=inngest.TriggerEvent(event="web/ordered"))
async def confirm(ctx: inngest.Context) -> str:
    """Runs on the event loop of the application."""
    logging.info("order %s is confirmed", ctx.event.data["order"])
    return f"order {ctx.event.data['order']} is confirmed"


worker = connect([(client, [confirm])])


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """In ``async with`` the worker leaves signals to the server."""
    async with worker:
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/worker", status_app(worker))


@app.post("/orders/{order}")
async def create_order(order: int) -> dict[str, int]:
    """Answers at once; the rest is done by the function."""
    await client.send(inngest.Event(name="web/ordered", data={"order": order}))
    return {"order": order}


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
