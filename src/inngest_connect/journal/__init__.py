"""The journal: what a worker owes to the server, on disk, for the process after a crash.

``writer`` keeps it up to date on a thread of its own. ``file`` is the database, ``rows`` what is in
it, and ``place`` its path and its lock. What is written, and what becomes of what is found, the
core decides. See docs/journal.md.
"""
