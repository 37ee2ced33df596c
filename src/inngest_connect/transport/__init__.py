"""The I/O shells: one WebSocket, two HTTP calls, one thread. They decide nothing."""
