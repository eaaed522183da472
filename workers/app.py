"""Owns the Celery application: how it is configured, and the sending of wake-ups.

The job rows are the truth. A message carries nothing but "work of this kind may be due": one that is lost, doubled
or late changes nothing. The settings were measured (Celery 5.7, Redis): see the comments.
"""

import logging
import threading
import time
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError
from kombu.messaging import Producer

from store.models import JobKind
from workers.settings import load_settings

log = logging.getLogger(__name__)

QUEUES = {JobKind.PARSE: "cpu", JobKind.ENCODE: "gpu", JobKind.FINISH: "cpu", JobKind.PAGES: "gpu"}
# What came to nothing by then is of no use, as the tender says it again: a worker that reads it then drops it.
EXPIRES_SECONDS = 300
# Unread in one queue, at most: those wake every worker there may be, and an import of a million files fills no Redis.
# Where all of them are too old by the time they are read, the tender wakes.
MOST_UNREAD = 1_000
QUIET_SECONDS = 4.0  # after a word that could not be said; the tender says it again, every five
LISTENING = {"socket_timeout": 30}  # of who waits for messages: must be longer than kombu's blocking pop
_VISIBILITY = 3600  # seconds; above the time limit, or a task that is long runs twice


def configuration() -> dict[str, Any]:
    """Celery's settings, made when it first needs them."""
    settings = load_settings()
    longest = max(900, settings.parse_seconds + 120)  # seconds of a task: the longest parse, and what goes with it
    return {
        "broker_url": settings.broker_url,
        "task_serializer": "json",
        "accept_content": ["json"],  # no pickle
        "task_ignore_result": True,  # state lives in rows
        "task_acks_late": True,
        "worker_prefetch_multiplier": 1,
        "task_reject_on_worker_lost": False,  # with it, a document that kills its worker is redelivered for ever
        "task_retry_on_worker_lost": False,  # the job's row counts attempts, and the tender wakes
        "task_time_limit": longest,
        "task_soft_time_limit": longest - 60,
        "visibility_timeout": _VISIBILITY,
        "broker_transport_options": {
            "visibility_timeout": _VISIBILITY,
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,  # the default looks every 100 s only
            "socket_keepalive": True,
            # A caller that wakes must not hang on a broker that is away, or that hangs itself.
            "socket_timeout": 2,
            "socket_connect_timeout": 2,
            "max_retries": 1,  # kombu's own are four seconds of looks at a closed port
            "interval_start": 0,
            "health_check_interval": 25,
            "retry_on_timeout": True,
            "global_keyprefix": "percel:",
        },
        "worker_soft_shutdown_timeout": 30,
        "worker_enable_soft_shutdown_on_idle": True,
        # A task goes on while Redis is away: the message comes again, which changes nothing, and no attempt is lost.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_retry_on_startup": True,
        "worker_send_task_events": False,
        "worker_hijack_root_logger": False,
        # Our handler writes to sys.stderr: were that Celery's, which logs what is written, no line would ever be seen.
        "worker_redirect_stdouts": False,
        "task_routes": {f"percel.{kind}": {"queue": queue} for kind, queue in QUEUES.items()},
        "task_default_queue": "cpu",
        "task_create_missing_queues": True,
    }


app = Celery("percel", include=["workers.tasks"])
app.add_defaults(configuration)
_CONFIGURING = threading.Lock()


class Waker:
    """Sends wake-ups. A broker that is away costs whoever wakes some seconds, then nothing for a while. For threads."""

    def __init__(self) -> None:
        self._quiet_until = 0.0

    def __call__(self, kind: JobKind) -> bool:
        """Says that work of a kind may be due; False where it could not be said. Never fails."""
        if time.monotonic() < self._quiet_until:
            return False
        try:
            send_wake(kind)
        except (OperationalError, OSError) as error:
            self._quiet_until = time.monotonic() + QUIET_SECONDS
            log.warning("wake-up not sent", extra={"kind": str(kind), "reason": str(error)})
            return False
        return True


def send_wake(kind: JobKind) -> None:
    """Puts a wake-up into the queue of its kind. Raises OperationalError, OSError."""
    queue = QUEUES[kind]
    with _CONFIGURING:  # or a thread that comes while another one reads the settings sends to some broker on localhost
        app.conf.get("broker_url")
    with app.producer_or_acquire() as producer:
        if _unread(producer, queue) < MOST_UNREAD:
            app.send_task(f"percel.{kind}", queue=queue, expires=EXPIRES_SECONDS, retry=False, producer=producer)


def _unread(producer: Producer, queue: str) -> int:
    """Messages that wait in a queue. Raises OperationalError."""

    def look() -> int:
        return int(producer.channel.queue_declare(queue=queue).message_count)

    count: int = producer.connection.ensure(producer, look, max_retries=0)()
    return count
