"""The journal: what a worker owes to the server, on disk, for the process after a crash.

``file`` is the database and its lock, ``writer`` keeps it up to date on a thread of its own. What
is written, and what becomes of what is found, the core decides. See docs/journal.md.
"""
