"""Owns the time that leases go by: the database's, where workers on several machines share one."""

import time

from sqlalchemy import func, select
from sqlalchemy.orm import Session


def now(session: Session) -> float:
    """Seconds since 1970. SQLite is on one machine, so its processes share a clock anyway."""
    if session.get_bind().dialect.name == "postgresql":
        return float(session.scalars(select(func.extract("epoch", func.clock_timestamp()))).one())
    return time.time()
