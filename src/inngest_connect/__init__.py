"""A worker for Inngest Connect: no result is lost, and it is never silently dead.

from inngest_connect import connect

asyncio.run(connect([(client, functions)]).start())
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .public import *  # noqa: F403
    from .public import __all__ as __all__
else:

    def __getattr__(name: str) -> Any:
        # A probe such as ``inngest-connect ready`` runs every few seconds and needs none of this;
        # importing the SDK and its company takes half a second of a processor.
        if name.startswith("__") and name != "__all__":
            raise AttributeError(name)
        public = importlib.import_module(".public", __name__)
        names = globals()
        names.update({each: getattr(public, each) for each in public.__all__})
        names["__all__"] = public.__all__
        if name not in names:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return names[name]

    def __dir__() -> list[str]:
        return __getattr__("__all__")
