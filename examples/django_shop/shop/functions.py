"""The Inngest functions. They are not async, so that they run in threads and may use the ORM."""

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import inngest
from django.db import close_old_connections

from .models import Order

client = inngest.Inngest(app_id="shop", is_production=False)
logger = logging.getLogger(__name__)
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def with_database(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Closes connections that are too old or broken, before and after.

    Django does this around requests of HTTP; a thread of a worker would keep its connection
    forever, also when the database has long closed it.
    """

    @functools.wraps(function)
    def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        close_old_connections()
        try:
            return function(*args, **kwargs)
        finally:
            close_old_connections()

    return wrapped


@client.create_function(fn_id="charge", trigger=inngest.TriggerEvent(event="shop/ordered"))
@with_database
def charge(ctx: inngest.ContextSync) -> str:
    """May run again after a crash, so each step finds out what is done already."""
    number, amount = ctx.event.data["order"], ctx.event.data["amount"]

    def save() -> bool:
        return bool(Order.objects.get_or_create(number=number, defaults={"amount": amount})[1])

    def pay() -> int:
        return int(Order.objects.filter(number=number, paid=False).update(paid=True))

    is_new = ctx.step.run("save", save)
    ctx.step.run("pay", pay)
    paid = Order.objects.filter(paid=True).count()
    logger.info("order %s, new: %s; %d paid orders", number, is_new, paid)
    return f"{paid} paid orders"


functions = [charge]
