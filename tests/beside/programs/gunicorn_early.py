import threading
from inngest_connect import connect

bind = "127.0.0.1:0"
connections = []


def post_worker_init(worker):
    from shop import apps

    connection = connect(apps, shutdown_timeout=20)
    connections.append(connection)
    threading.Thread(target=connection.run).start()


def worker_exit(server, worker):
    for connection in connections:
        connection.close_sync()
