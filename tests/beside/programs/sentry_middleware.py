import asyncio

import sentry_sdk
from inngest.experimental.sentry_middleware import SentryMiddleware
from inngest_connect import connect
from shop import apps, client

sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", traces_sample_rate=1.0)
client.add_middleware(SentryMiddleware)

if __name__ == "__main__":
    asyncio.run(connect(apps).start())
