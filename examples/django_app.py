"""A Django project in one file, which starts runs in the transaction of its request.

STREAMWORKERS_DATABASE_URL=postgresql://… python examples/django_app.py runserver
"""

import json
import os
import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.db import connection, transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path
from psycopg.conninfo import conninfo_to_dict

from streamworkers.client import BadInputError, Client, KeyConflictError, UnknownRunError

URL = os.environ["STREAMWORKERS_DATABASE_URL"]
JOB = os.environ.get("EXAMPLE_JOB", "analysis")
_PLACE = conninfo_to_dict(URL)
_NAMES = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            **{name: _PLACE[word] for word, name in _NAMES.items() if word in _PLACE},
        }
    },
    DEBUG=False,
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("SECRET_KEY", "only for this example"),
)
client = Client(URL)


def make_order(request: HttpRequest) -> JsonResponse:
    """Store an order and start its run: both are there, or neither."""
    order = json.loads(request.body)
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO orders (name) VALUES (%s)", [order["name"]])
            run = client.enqueue(JOB, symbols=order["symbols"], key=f"order {order['name']}", connection=connection)
    except BadInputError as error:
        return JsonResponse({"error": str(error)}, status=409 if isinstance(error, KeyConflictError) else 422)
    return JsonResponse({"run": run.id}, status=202)


def show_run(request: HttpRequest, run_id: int) -> JsonResponse:
    """Say how far a run is."""
    try:
        state = client.run(run_id).state()
    except UnknownRunError as error:
        return JsonResponse({"error": str(error)}, status=404)
    return JsonResponse({"status": state.status, "items": state.item_count, "completed": state.completed_count})


urlpatterns = [path("orders", make_order), path("runs/<int:run_id>", show_run)]
application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
