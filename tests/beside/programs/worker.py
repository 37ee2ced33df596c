import asyncio

from inngest_connect import connect
from shop import apps


def main():
    asyncio.run(connect(apps).start())


if __name__ == "__main__":
    main()
