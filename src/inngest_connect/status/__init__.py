"""A running worker over HTTP: health, metrics, its state as JSON, and a page.

``StatusServer`` and ``status_app`` are public, the modules of this package are private. Needs
``pip install "inngest-connect[status]"``.
"""

from .application import status_app
from .server import StatusServer

__all__ = ["StatusServer", "status_app"]
