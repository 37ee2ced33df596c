"""The Inngest functions. They are not async, so that they run in threads and may use the ORM."""

import logging

import inngest

from .models import Order

client = inngest.Inngest(app_id="shop", is_production=False)
logger = logging.getLogger(__name__)


@client.create_function(fn_id="charge", trigger=inngest.TriggerEvent(event="shop/ordered"))
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
