import trio
from inngest_connect import connect
from shop import apps

if __name__ == "__main__":
    trio.run(connect(apps).start)
