"""Everything that touches the ``inngest`` SDK: apps, their identity, and the running of requests.

Private. ``adapter`` is the only module that uses the SDK's internals.
"""
