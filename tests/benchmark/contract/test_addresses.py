import socket
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from benchmark.contract import addresses
from benchmark.contract.addresses import is_postgres, reason, silence, without_password


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me:s3cret@db:5432/optuna", "postgresql://me:***@db:5432/optuna"),
        ("postgresql+psycopg://me:s3%40cret@db/optuna", "postgresql+psycopg://me:***@db/optuna"),
        ("postgresql://me:s3/c?r#e@t@db/optuna", "postgresql://me:***@db/optuna"),
        (
            "postgresql://db/optuna?user=me&password=s3cret&x=1",
            "postgresql://db/optuna?user=me&password=***&x=1",
        ),
        ("https://me:s3cret@tracking/path", "https://me:***@tracking/path"),
        ("postgresql://me@db/optuna?passfile=/a/b", "postgresql://me@db/optuna?passfile=/a/b"),
        ("http://tracking:5000", "http://tracking:5000"),
        ("sqlite:////a/mlflow.db", "sqlite:////a/mlflow.db"),
    ],
)
def test_a_password_is_not_shown(address, shown):
    assert without_password(address) == shown


def test_a_reason_is_one_line_without_the_password():
    error = ValueError("cannot reach postgresql://me:s3@cret@db, that is s3@cret or s3%40cret\nmore")
    assert reason(error, "postgresql://me:s3%40cret@db/x") == (
        "cannot reach postgresql://me:***@db, that is *** or ***"
    )
    assert reason(ValueError(), "postgresql://db") == "ValueError"


def test_which_addresses_are_of_postgres():
    assert [is_postgres(a) for a in ("postgresql://x", "postgresql+psycopg://x", "postgres://x")] == [
        True
    ] * 3
    assert not any(map(is_postgres, ("http://postgresql", "sqlite:///postgresql", "postgresqlite://x", "")))


@pytest.fixture
def serving():
    """A function that serves one answer code on the loopback; its address. The paths asked for are kept."""
    servers, asked = [], []

    def serve(code):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                self.send_error(code)

            def log_message(self, *_):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return f"127.0.0.1:{server.server_port}", asked

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_server_that_answers_is_not_silent(serving):
    where, asked = serving(404)
    assert silence(f"http://me:s3cret@{where}/behind/") == ""
    assert asked == ["/behind/api/2.0/mlflow/experiments/get?experiment_id=0"]
    assert silence("sqlite:///x.db") == ""


def test_a_server_without_its_database_is(serving):
    assert silence(f"http://{serving(503)[0]}") == "it answers 503 Service Unavailable"


def test_so_is_one_that_is_not_there_or_hangs(monkeypatch):
    monkeypatch.setattr(addresses, "ANSWER_WITHIN_S", 0.2)
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:  # and never accepts
        port = listening.getsockname()[1]
        assert silence(f"http://127.0.0.1:{port}") == "no answer within 0.2 s"
    assert "refused" in silence(f"http://127.0.0.1:{port}")
    assert "port" in silence("http://127.0.0.1:many")
