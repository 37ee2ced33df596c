"""``manage.py runconnect``: the worker of this project."""

from django.core.management import BaseCommand, call_command

from inngest_connect import connect

from ...functions import client, functions


class Command(BaseCommand):
    """Runs until SIGTERM or Ctrl-C, and finishes what is in flight."""

    help = "Runs the Inngest functions of this project."

    def handle(self, *args: object, **options: object) -> None:
        """Django has read the settings and imported the models before."""
        # The example has no migrations. A project applies them before it starts workers.
        call_command("migrate", run_syncdb=True, verbosity=0)
        connect([(client, functions)]).run()
