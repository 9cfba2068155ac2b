"""Options of several processes, refused before any is started."""

import re
import socket

import pytest

from tiny_runs import reparam


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--devices 0", "--devices: expected at least 1, got 0"),
        ("--accumulate 0", "--accumulate: expected at least 1, got 0"),
        ("--nodes 2", "--rendezvous: expected HOST:PORT of one of the machines, .* got none"),
        ("--nodes 2 --rendezvous host", "--rendezvous: expected HOST:PORT .* got host"),
        ("--nodes 2 --rendezvous a:1 --node-rank 2", "--node-rank: expected 0 to 1, .* got 2"),
        ("--nodes 2 --rendezvous a:1", "--out: expected a folder for several machines to share"),
    ],
)
def test_wrong_options_are_refused(options, said):
    """Before anything is started."""
    outcome = reparam("train", "vae", *options.split())
    assert outcome.status == 2
    assert re.fullmatch(f"reparam: {said}.*\n", outcome.err), outcome.err


def test_a_host_that_is_not_known_is_refused(tmp_path, monkeypatch):
    """At once, where torch would look for it for minutes."""

    def unknown(host, port):
        raise socket.gaierror(-2, f"no {host}")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    given = ["--nodes", 2, "--rendezvous", "nowhere:1", "--out", tmp_path / "run"]
    outcome = reparam("train", "vae", *given)
    assert outcome.status == 2
    said = "--rendezvous: expected HOST:PORT .* got nowhere:1, whose host is not known here"
    assert re.fullmatch(rf"reparam: {said} \(no nowhere\)\n", outcome.err)
