"""Private. Functions in child processes, behind the one connection of the parent.

In the parent: ``executor`` dispatches requests, ``pool`` keeps children running, ``child`` is one
of them. ``program`` is what a child runs. ``frames`` is the protocol between the two.
"""
