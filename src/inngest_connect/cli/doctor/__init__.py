"""``inngest-connect doctor``: whether a worker could connect from here, check by check. Private.

``checks`` lists the checks in their order. Each is an async function of an ``Examination``, which
holds what the earlier ones have found out. The API client, the WebSocket and the handshake are
those of a worker, so that the doctor cannot come to another result than a worker.
"""
