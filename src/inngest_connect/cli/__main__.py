"""``python -m inngest_connect.cli`` is ``inngest-connect``."""

from . import main

if __name__ == "__main__":
    main()
