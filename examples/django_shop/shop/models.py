"""The tables."""

from django.db import models


class Order(models.Model):
    """One row for each order, however often it is charged."""

    number = models.IntegerField(unique=True)
    amount = models.IntegerField()
    paid = models.BooleanField(default=False)
