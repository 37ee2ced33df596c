"""A running worker over HTTP: health, metrics, its state as JSON, and a page.

``StatusServer`` and ``status_app`` are public, the modules of this package are private. Needs
``pip install "inngest-connect[status]"``.
"""

from ..extras import missing_extra

try:
    from .application import status_app
    from .server import StatusServer
except ModuleNotFoundError as error:
    raise missing_extra("the status server", "status", error) from None

__all__ = ["StatusServer", "status_app"]
