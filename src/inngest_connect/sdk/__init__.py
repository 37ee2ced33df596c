"""Everything that touches the ``inngest`` SDK: apps, their identity, and the running of requests.

Private. Only ``adapter`` and ``fast_path`` use the SDK's internals.
"""
