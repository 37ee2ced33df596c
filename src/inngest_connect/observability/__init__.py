"""Private. What leaves a worker for those who operate it: log, metrics, traces, events, snapshots.

``Announcer`` receives every event of a worker and passes it on, without secrets. Nothing here can
block the connection or break the worker, although most receivers are code of the user.
"""
