import uvloop
from inngest_connect import connect
from shop import apps

if __name__ == "__main__":
    uvloop.run(connect(apps).start())
