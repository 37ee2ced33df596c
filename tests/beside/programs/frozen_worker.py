import asyncio

import freezegun
from inngest_connect import connect
from shop import apps

if __name__ == "__main__":
    with freezegun.freeze_time("2030-01-01"):
        asyncio.run(connect(apps).start())
