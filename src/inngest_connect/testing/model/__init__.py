"""The gateways, the executor and their rules as pure code: no socket, clock or random source.

``GatewayModel`` takes what happens and the time, and returns actions. The mock servers carry them
out on real sockets, the simulation in virtual time. Private; the public names are exported by
``inngest_connect.testing``.
"""
