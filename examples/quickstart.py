"""The smallest worker. Needs a server on port 8288: ``npx inngest-cli dev`` or
``inngest-connect gateway``.

Run it with ``python examples/quickstart.py``; Ctrl-C stops it and finishes what is in flight.
"""

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
    connect([(client, [greet])]).run()
