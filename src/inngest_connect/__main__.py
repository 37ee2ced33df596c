"""``python -m inngest_connect`` is ``inngest-connect``."""

from inngest_connect_ready import entry

if __name__ == "__main__":
    entry()
