"""Who asks with a key: remembered while nothing is committed, refused from the commit that ends the key on."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import closing

import pytest
from sqlalchemy import create_engine

import api.callers as callers
from api.callers import Caller, KnownKey, KnownKeys, look_up_keys
from store import catalog
from store.commits import Commits
from store.database import transaction
from store.scopes import Scope
from workers.resources import Resources


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[list[str | None]]:
    """The keys of each look-up."""
    made: list[list[str | None]] = []

    def counted(resources: Resources, secrets: Sequence[str | None]) -> list[KnownKey]:
        made.append(list(secrets))
        return look_up_keys(resources, secrets)

    monkeypatch.setattr(callers, "look_up_keys", counted)
    return made


@pytest.fixture
def keys(resources: Resources, looks: list[list[str | None]]) -> Iterator[KnownKeys]:
    with closing(KnownKeys(resources)) as opened:
        yield opened


def make_key(resources: Resources, **more: object) -> tuple[str, str]:
    """A key's id and the key."""
    with transaction(resources.engine) as session:
        row, secret = catalog.create_key(session, "default", name="test", scopes=[Scope.READ], **more)
    return row.id, secret


def revoke(resources: Resources, key_id: str) -> None:
    with transaction(resources.engine) as session:
        catalog.revoke_key(session, "default", key_id)


def known(keys: KnownKeys, *secrets: str | None) -> list[KnownKey]:
    async def ask() -> list[KnownKey]:
        return await asyncio.gather(*(keys(secret) for secret in secrets))

    return asyncio.run(ask())


def test_a_key_is_looked_up_once_while_nothing_is_committed(
    resources: Resources, keys: KnownKeys, looks: list[list[str | None]]
) -> None:
    key_id, secret = make_key(resources, collections=["open"])
    found = [known(keys, secret)[0] for _ in range(3)]
    assert [one.caller for one in found] == [
        Caller("default", frozenset([Scope.READ]), frozenset(["open"]), key_id)
    ] * 3
    assert looks == [[secret]]


def test_who_brings_no_key_is_looked_up_once_until_there_is_one(
    resources: Resources, keys: KnownKeys, looks: list[list[str | None]]
) -> None:
    assert known(keys, None) + known(keys, None) == [KnownKey(None, False)] * 2
    assert looks == [[None]]
    make_key(resources)
    assert known(keys, None) == [KnownKey(None, True)]


def test_keys_of_a_server_are_looked_up_each_time(
    resources: Resources, keys: KnownKeys, looks: list[list[str | None]]
) -> None:
    keys.close()
    keys._commits = Commits(create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none"))  # tells nothing
    _, secret = make_key(resources)
    assert [known(keys, secret, None)[0].caller is not None for _ in range(2)] == [True, True]
    assert looks == [[secret, None]] * 2


def test_a_revoked_key_is_refused_by_the_next_request(resources: Resources, keys: KnownKeys) -> None:
    key_id, secret = make_key(resources)
    assert known(keys, secret)[0].caller is not None
    revoke(resources, key_id)
    assert known(keys, secret) == [KnownKey(None, True)]


def test_a_key_that_is_revoked_while_it_is_looked_up_is_not_remembered(
    resources: Resources, keys: KnownKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_id, secret = make_key(resources)

    def overtaken(resources: Resources, secrets: Sequence[str | None]) -> list[KnownKey]:
        found = look_up_keys(resources, secrets)
        revoke(resources, key_id)
        return found

    monkeypatch.setattr(callers, "look_up_keys", overtaken)
    with closing(KnownKeys(resources)) as slow:
        assert known(slow, secret)[0].caller is not None
        assert known(slow, secret)[0].caller is None


def test_a_remembered_key_expires_without_a_commit(
    resources: Resources, keys: KnownKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    expires_at = time.time() + 60
    _, secret = make_key(resources, expires_at=expires_at)
    assert known(keys, secret)[0].caller is not None
    monkeypatch.setattr(time, "time", lambda: expires_at - 1)
    assert known(keys, secret)[0].caller is not None
    monkeypatch.setattr(time, "time", lambda: expires_at)
    assert known(keys, secret)[0].caller is None


def test_keys_that_nobody_made_take_no_memory(
    resources: Resources, keys: KnownKeys, looks: list[list[str | None]]
) -> None:
    _, secret = make_key(resources)
    made_up = [f"pk_{number}" for number in range(20)]
    assert [one.caller for one in known(keys, *made_up) + known(keys, *made_up)] == [None] * 40
    known(keys, secret)
    assert sum(map(len, looks)) == 41
    assert len(keys._remembered._kept) == 1


def test_a_key_itself_is_not_kept(resources: Resources, keys: KnownKeys) -> None:
    _, secret = make_key(resources)
    known(keys, secret)
    (name,) = keys._remembered._kept
    assert secret not in str(name)
    assert secret not in str(keys._remembered._kept)
