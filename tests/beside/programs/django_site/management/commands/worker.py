from django.core.management.base import BaseCommand
from inngest_connect import connect
from shop import apps


class Command(BaseCommand):
    def handle(self, **options):
        connect(apps).run()
