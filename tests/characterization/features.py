"""Features of the SDK, as functions that two workers run.

``features_of_runs`` and ``features_of_declarations`` declare them.

A feature that this version of the SDK lacks has no function; ``LACKING`` names what is missing.
"""

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any, Final

import inngest

Options = dict[str, Any]
TRIGGER: Final = inngest.TriggerEvent(event="features/called")


@dataclasses.dataclass(frozen=True, slots=True)
class Feature:
    """A handler, and how its function is declared and invoked."""

    handler: Callable[..., Any]
    options: Callable[[], Options]
    invoke: Options
    """Keyword arguments of ``EmbeddedGateway.invoke``."""


FEATURES: Final[dict[str, Feature]] = {}
DECLARED_FIRST: Final[dict[str, Callable[[inngest.Inngest], Any]]] = {}
"""Functions that others name, and how they are declared with a client."""
CALLED: Final[dict[str, Any]] = {}
"""Those of the client that was made last."""
LACKING: Final[dict[str, str]] = {}
"""Features by name, and what this version of the SDK does not have for them."""


def feature(
    needs: str = "inngest.Inngest", invoke: Options | None = None, **options: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare the feature that is named as its handler.

    ``needs`` is a name of the SDK that it cannot do without. An option that is a callable is called
    only if that exists.
    """

    def declare(handler: Callable[..., Any]) -> Callable[..., Any]:
        name = handler.__name__.replace("_", "-")
        if _exists(needs):
            FEATURES[name] = Feature(
                handler,
                lambda: {k: v() if _is_lambda(v) else v for k, v in options.items()},
                invoke or {},
            )
        else:
            LACKING[name] = needs
        return handler

    return declare


def _exists(path: str) -> bool:
    module, _, name = path.rpartition(".")
    try:
        return hasattr(importlib.import_module(module), name)
    except ImportError:
        return False


def _is_lambda(value: Any) -> bool:
    return getattr(value, "__name__", "") == "<lambda>"


def make_functions(client: inngest.Inngest) -> list[inngest.Function[Any]]:
    """A function for each feature, with the ids of the features, and what they call."""
    CALLED.update({name: declare(client) for name, declare in DECLARED_FIRST.items()})
    declared = [
        client.create_function(
            **{"fn_id": name, "trigger": TRIGGER, "retries": 0, **each.options()}
        )(each.handler)
        for name, each in FEATURES.items()
    ]
    return [*declared, *CALLED.values()]
