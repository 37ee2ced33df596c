"""``inngest-connect doctor``: whether a worker could connect from here, stage by stage.

``checks`` lists the stages in their order; each is a plain async function of an ``Examination``,
which holds what the earlier ones have learned. What a worker uses is used here too (the API client,
the WebSocket, the handshake), so that the doctor cannot be of another opinion than a worker.
"""
