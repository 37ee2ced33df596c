from django.core.management.base import BaseCommand
from django.utils import autoreload
from inngest_connect import connect
from shop import apps


class Command(BaseCommand):
    def handle(self, **options):
        autoreload.run_with_reloader(connect(apps).run)
