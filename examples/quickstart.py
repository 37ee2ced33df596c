"""The smallest worker, with one function that has a step.

    inngest-connect gateway          # in another terminal; Inngest's own: npx inngest-cli dev
    python examples/quickstart.py
    curl http://127.0.0.1:8288/invoke/quickstart-greet -d '{"data": {"name": "Ada"}}'

Ctrl-C stops the worker when it has finished what is in flight.
"""

import logging

import inngest

from inngest_connect import connect

client = inngest.Inngest(app_id="quickstart", is_production=False)


@client.create_function(fn_id="greet", trigger=inngest.TriggerEvent(event="app/user.created"))
async def greet(ctx: inngest.Context) -> str:
    """Runs on this process's event loop."""

    async def look_up() -> str:
        return str(ctx.event.data.get("name", "stranger"))

    return f"Hello, {await ctx.step.run('look up the name', look_up)}"


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)  # without it a worker logs only problems
    connect([(client, [greet])]).run()
