"""Addresses of servers: what may be shown of one, and whether it answers; for both packages."""

import re
import ssl
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import urlopen

ANSWER_WITHIN_S = 5.0
"""What answers no sooner is taken for absent: libraries ask again for minutes, and say nothing."""
HIDDEN = "***"

# As far as the last @: a password may have one that is not written as %40. Or a parameter of libpq's.
_PASSWORDS = re.compile(
    r"(?<=://)(?P<user>[^:/@]*:)(?P<password>.*)(?=@)|(?P<key>[?&]password=)(?P<value>[^&#]*)"
)


def without_password(address: str) -> str:
    """An address as it may be shown and recorded; `***` stands for its password."""
    return _PASSWORDS.sub(lambda found: f"{found['user'] or found['key']}{HIDDEN}", address)


def reason(error: BaseException, address: str) -> str:
    """Why a server could not be used, in one line, without the password in its address.

    Args:
        error: of SQLAlchemy (its driver's is meant), of a driver or of a library that asks by HTTP.
        address: of the server.
    """
    if isinstance(error, ImportError):
        return (
            f"its driver cannot be imported ({error}): install the extra `postgres`, that is psycopg[binary]"
        )
    said = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
    return _hidden(said.splitlines()[0], address)


def is_postgres(address: str) -> bool:
    """Whether an address is one of a PostgreSQL database."""
    return address.partition(":")[0].partition("+")[0] in ("postgresql", "postgres")


def silence(address: str) -> str:
    """Why no MLflow server answers at an address of HTTP; empty if one does, and for other addresses.

    What it is asked reads its database. A refusal is an answer too: MLflow's client says who may ask.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https"):
        return ""
    host = parts.netloc.rpartition("@")[2]
    path = f"{parts.path.rstrip('/')}/api/2.0/mlflow/experiments/get"
    try:
        with urlopen(urlunsplit((parts.scheme, host, path, "experiment_id=0", "")), timeout=ANSWER_WITHIN_S):
            return ""
    except HTTPError as error:
        with error:
            return f"it answers {error.code} {error.reason}" if error.code >= 500 else ""
    except TimeoutError:
        return f"no answer within {ANSWER_WITHIN_S:g} s"
    except URLError as error:
        return (
            ""
            if isinstance(error.reason, ssl.SSLCertVerificationError)
            else _hidden(str(error.reason), address)
        )
    except (OSError, ValueError, HTTPException) as error:
        return _hidden(str(error), address)


def _hidden(text: str, address: str) -> str:
    """A text without the passwords in an address, as they are written there and as they are meant."""
    written = {found["password"] or found["value"] for found in _PASSWORDS.finditer(address)} - {None, ""}
    for password in sorted(written | {unquote(one) for one in written}, key=len, reverse=True):
        text = text.replace(password, HIDDEN)
    return text
