"""The network: the WebSocket to a gateway, and the calls of the API. Decides nothing. Private.

One connection is one ``WebSocketManager``: ``dial`` opens it, ``fragments`` puts its messages
together, ``send_queue`` writes. ``ApiClient`` makes the HTTP calls. Both use the same proxies and
certificate authorities (``environment``) and the same way to connect (``tcp``, ``resolver``).
"""
