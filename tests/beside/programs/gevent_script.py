from gevent import monkey

monkey.patch_all()

from inngest_connect import connect
from shop import apps

if __name__ == "__main__":
    connect(apps).run()
