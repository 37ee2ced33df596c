"""Private. Where user functions run: on the application's event loop, or in child processes.

``executor`` is the interface and ``loop_executor`` the default. The folder ``processes`` is the
other implementation.
"""
