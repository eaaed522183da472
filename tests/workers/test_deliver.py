"""Who waits for a receiver that does not answer: nobody but itself."""

import socket
from pathlib import Path

import pytest
from sqlalchemy import select

from store import catalog
from store.database import reading, transaction
from store.models import Delivery, DeliveryState, Webhook
from tests.workers.test_ingest import offer
from workers import deliver, outbound
from workers.deliver import deliver_due
from workers.ingest import accept
from workers.resources import Resources
from workers.settings import Settings


def test_a_receiver_that_hangs_holds_up_no_other(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "READ_SECONDS", 1.0)
    monkeypatch.setattr(deliver, "TURN_SECONDS", 0.5)
    with (
        Resources(Settings(home=home, allow_private_urls=True)) as resources,
        socket.create_server(("127.0.0.1", 0)) as silent,
        socket.socket() as closed,  # answers at once, that it does not
    ):
        closed.bind(("127.0.0.1", 0))
        urls = {name: f"http://127.0.0.1:{each.getsockname()[1]}/" for name, each in (("a", silent), ("b", closed))}
        for name, files in (("a", 30), ("b", 1)):
            documents = [
                accept(resources, name, "test", offer(tmp_path, f"{name}{n}.txt", f"Text {name} {n}.\n")).document
                for n in range(files)
            ]
            with transaction(resources.engine) as session:
                catalog.add_webhook(session, name, url=urls[name])
                for document in documents:
                    catalog.fail_document(session, document.id, "It is of no use.")
        assert deliver_due(resources) == 11
        with reading(resources.engine) as session:
            query = select(Webhook.tenant, Delivery.attempts).join(Webhook, Webhook.id == Delivery.webhook_id)
            states = set(session.scalars(select(Delivery.state)))
            tried = sorted((tenant, attempts) for tenant, attempts in session.execute(query) if attempts)
        # One message was waited for; the others of its receiver are due as they were.
        assert (tried, states) == ([("a", 1), ("b", 1)], {DeliveryState.QUEUED})
        assert deliver_due(resources) == 20
