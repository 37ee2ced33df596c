"""Where ``ready`` asks and ``run --http`` answers, so that the two agree without importing."""

from typing import Final

HTTP_VARIABLE: Final = "INNGEST_CONNECT_HTTP"
DEFAULT_ADDRESS: Final = "127.0.0.1:8080"
