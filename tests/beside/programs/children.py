from inngest_connect import connect, process_executor
from shop import apps


def main():
    connect(apps, executor=process_executor("shop:apps", 1)).run()


if __name__ == "__main__":
    main()
