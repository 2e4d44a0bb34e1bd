"""PostgreSQL databases that others have too: reached within seconds, or refused in one line."""

from typing import TYPE_CHECKING, Any

from benchmark.base.errors import InputError
from benchmark.contract.addresses import ANSWER_WITHIN_S, is_postgres, reason, without_password

if TYPE_CHECKING:
    from sqlalchemy import Engine

CONNECT_ARGS = {
    "connect_timeout": int(ANSWER_WITHIN_S),
    # A server that has vanished is noticed after half a minute, by a question or without one; and so is, by
    # the server, a runner whose machine has: it holds a lock as long as its connection is taken to stand.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
    "options": "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=4",
}
"""What libpq, PostgreSQL's client library, is told about connections."""


def database_url(address: str, asked_for: str) -> str:
    """A PostgreSQL database's address as SQLAlchemy is to have it, whichever of its drivers is the default.

    Args:
        address: as the user gave it, `postgresql://user@host:port/database`.
        asked_for: the option that it was given by, for the message.

    Raises:
        InputError: it is none.
    """
    if not is_postgres(address):
        raise InputError(
            f"{asked_for}: expected postgresql://user@host:port/database, found {without_password(address)}"
        )
    scheme, _, rest = address.partition(":")
    return f"postgresql+psycopg:{rest}" if "+" not in scheme else address


def engine(url: str, **options: Any) -> "Engine":
    """SQLAlchemy's engine for a database; nothing is connected yet.

    Raises:
        InputError: the driver is missing, or it is no address.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return create_engine(url, connect_args=CONNECT_ARGS | options.pop("connect_args", {}), **options)
    except (ImportError, SQLAlchemyError, ValueError) as error:
        raise unusable(url, error) from None


def check_database(url: str) -> None:
    """Connect to a PostgreSQL database and leave it again.

    Raises:
        InputError: it cannot be used.
    """
    from sqlalchemy import NullPool
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with engine(url, poolclass=NullPool).connect():
            pass
    except SQLAlchemyError as error:
        raise unusable(url, error) from None


def unusable(url: str, error: BaseException) -> InputError:
    """The one line on a database that cannot be used."""
    return InputError(
        f"expected a PostgreSQL database that answers at {without_password(url)}, found: {reason(error, url)}"
    )
