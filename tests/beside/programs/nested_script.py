import asyncio

import nest_asyncio
from inngest_connect import connect
from shop import apps

nest_asyncio.apply()


async def main():
    asyncio.get_running_loop().run_until_complete(connect(apps).start())


if __name__ == "__main__":
    asyncio.run(main())
