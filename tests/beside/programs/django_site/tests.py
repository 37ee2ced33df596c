from django.contrib.contenttypes.models import ContentType
from django.test import TransactionTestCase
from inngest_connect.testing import GatewayThread
from rounds_in_tests import play_on_a_thread

from django_site.functions import add, apps


class Worker(TransactionTestCase):
    def test_functions_share_the_database(self):
        ContentType.objects.create(app_label="shop", model="pen")
        with GatewayThread() as gateway, gateway.connect(apps):
            assert gateway.invoke(add).output == 2
        assert ContentType.objects.filter(app_label="shop").count() == 2

    def test_the_round(self):
        with GatewayThread() as gateway:
            play_on_a_thread(gateway)
