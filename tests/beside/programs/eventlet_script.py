import eventlet

eventlet.monkey_patch()

from inngest_connect import connect
from shop import apps

if __name__ == "__main__":
    connect(apps).run()
