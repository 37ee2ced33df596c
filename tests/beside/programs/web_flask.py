import threading

from flask import Flask
from inngest_connect import connect
from shop import apps

app = Flask(__name__)


@app.get("/")
def index():
    return "the shop"


if __name__ == "__main__":
    threading.Thread(target=app.run, kwargs={"port": 0}, daemon=True).start()
    connect(apps).run()
