"""What a running worker tells over HTTP: health, metrics, its state as JSON, and a page.

Needs ``pip install "inngest-connect[status]"``.
"""

from .application import status_app
from .server import StatusServer

__all__ = ["StatusServer", "status_app"]
