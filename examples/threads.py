"""Functions that are not async: a library that blocks, here a database, in threads.

    inngest-connect gateway          # in another terminal
    python examples/threads.py
    curl http://127.0.0.1:8288/invoke/threads-report -d '{"data": {"customer": "Ada"}}'

A function without ``async`` runs in a thread, so it may block: the connection and the other
functions go on. INNGEST_THREAD_POOL_MAX_WORKERS limits the threads.
"""

import logging
import sqlite3
import threading

import inngest

from inngest_connect import connect

client = inngest.Inngest(app_id="threads", is_production=False)
of_this_thread = threading.local()


def database() -> sqlite3.Connection:
    """One connection for each thread: most drivers do not share one between threads."""
    if not hasattr(of_this_thread, "connection"):
        connection = sqlite3.connect(":memory:")
        connection.execute("CREATE TABLE orders (customer TEXT, amount INTEGER)")
        connection.execute("INSERT INTO orders VALUES ('Ada', 30), ('Ada', 12), ('Grace', 7)")
        of_this_thread.connection = connection
    found: sqlite3.Connection = of_this_thread.connection
    return found


@client.create_function(fn_id="report", trigger=inngest.TriggerEvent(event="shop/report.asked"))
def report(ctx: inngest.ContextSync) -> str:
    """Takes ``ContextSync``, whose steps are called without ``await``."""
    customer = str(ctx.event.data["customer"])

    def add_up() -> int:
        query = "SELECT coalesce(sum(amount), 0) FROM orders WHERE customer = ?"
        return int(database().execute(query, [customer]).fetchone()[0])

    total = ctx.step.run("add up the orders", add_up)
    logging.info("ran in the thread %s", threading.current_thread().name)
    return f"{customer} has ordered for {total}"


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    connect([(client, [report])]).run()
