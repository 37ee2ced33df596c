import threading

bind = "127.0.0.1:0"


def post_worker_init(worker):
    from inngest_connect import connect
    from shop import apps

    threading.Thread(target=connect(apps).run).start()
