import asyncio

import sentry_sdk
from inngest_connect import connect
from shop import apps

sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", traces_sample_rate=1.0)

if __name__ == "__main__":
    asyncio.run(connect(apps).start())
