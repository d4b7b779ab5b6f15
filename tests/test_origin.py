"""The scripted origin and the oracle themselves: a campaign with a blind judge proves nothing."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

import pytest

from tests.campaigns.oracle import Oracle, Run, draw_run
from tests.origin import AT_ACCEPT, BREAKS, Origin
from tests.plans import ALWAYS, LIES, Ask, Fault, Plan

BODY = bytes(range(256)) * 1000


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(["run"]) as origin:
        yield origin


def ask(origin: Origin, path: str, span: str = "", method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", origin.port, timeout=0.5)
    try:
        connection.request(method, path, headers={"Range": f"bytes={span}"} if span else {})
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_an_honest_plan_answers_as_a_server_should(origin: Origin, framing: str) -> None:
    origin.folders["run"] = {"f": Plan([BODY], framing=framing)}
    answer, body = ask(origin, "/run/f")
    assert (answer.status, body) == (200, BODY)
    answer, body = ask(origin, "/run/f", "1000-70000")
    assert (answer.status, body) == (206, BODY[1000:70001])
    assert answer.getheader("Content-Range") == f"bytes 1000-70000/{len(BODY)}"
    assert ask(origin, "/run/f", "999999-")[0].status == 416
    assert ask(origin, "/run/f", method="HEAD")[0].getheader("ETag") == answer.getheader("ETag")
    assert b'href="f"' in ask(origin, "/run/")[1]
    assert b'href="run/"' in ask(origin, "/")[1]
    assert ask(origin, "/run/missing")[0].status == 404


@pytest.mark.parametrize("kind", sorted(BREAKS))
def test_a_break_breaks_once_and_is_over(origin: Origin, kind: str) -> None:
    origin.folders["run"] = {"f": Plan([BODY], faults=(Fault(kind, 0, 1),))}
    try:
        seen = ask(origin, "/run/f")[1]
    except (OSError, http.client.HTTPException):
        seen = b""  # but http.client takes the close within the headers for their end
    assert seen != BODY
    assert ask(origin, "/run/f")[1] == BODY


@pytest.mark.parametrize("kind", AT_ACCEPT)
def test_a_break_at_accept_meets_the_next_connection(origin: Origin, kind: str) -> None:
    origin.folders["run"] = {"f": Plan([BODY])}
    origin.accept_faults.put(kind)
    with pytest.raises((OSError, http.client.HTTPException)):
        ask(origin, "/run/f")
    assert ask(origin, "/run/f")[1] == BODY


@pytest.mark.parametrize("kind", sorted(LIES))
def test_a_lie_changes_the_answer(kind: str) -> None:
    request = Ask("GET", "/run/f", {"range": "bytes=100-199"})
    honest = Plan([BODY]).answer(request)
    assert LIES[kind](honest) != honest


def test_a_redirects_target_expires_and_a_new_one_works(origin: Origin) -> None:
    origin.folders["run"] = {"f": Plan([BODY], redirect=2)}
    targets = []
    for _ in range(2):
        answer, _ = ask(origin, "/run/f")
        assert answer.status == 302
        targets.append(answer.getheader("Location") or "")
    assert targets[0] != targets[1]
    assert [ask(origin, targets[0])[0].status for _ in range(3)] == [200, 200, 403]
    assert ask(origin, targets[1])[0].status == 200


def test_a_version_takes_over_at_its_request_and_if_match_sees_it(origin: Origin) -> None:
    plan = Plan([b"old", b"new"], changes_at=[2])
    origin.folders["run"] = {"f": plan}
    assert [ask(origin, "/run/f")[1] for _ in range(3)] == [b"old", b"old", b"new"]
    old = Plan([b"old", b"new"]).answer(Ask("GET", "/", {})).get("ETag")
    assert plan.answer(Ask("GET", "/", {"if-match": old})).status == 412


def run_of(*bodies: bytes, **nature: str) -> Oracle:
    return Oracle(Run(0, Plan(list(bodies), **nature), (), ()))  # type: ignore[arg-type]  # str fields only


def test_the_oracle_accepts_one_version_and_refuses_a_mixture() -> None:
    old, new = b"a" * 100, b"b" * 100
    assert run_of(old, new).saw(0, 100, old) is None
    assert run_of(old, new).saw(0, 100, new) is None
    assert run_of(old, new).saw(0, 100, old[:50] + new[50:]) is not None
    torn = run_of(old, new)
    assert torn.saw(0, 50, old[:50]) is None
    assert torn.saw(50, 50, new[50:]) is not None, "one handle, two versions"


def test_the_oracle_refuses_short_empty_and_zeroed_reads() -> None:
    for seen in (b"", b"x" * 99, bytes(100), b"x" * 101):
        assert run_of(b"x" * 100).saw(0, 100, seen) is not None, seen
    assert run_of(b"x" * 100).saw(90, 100, b"x" * 10) is None
    assert run_of(b"x" * 100).saw(100, 100, b"") is None


def test_without_any_validator_only_bytes_of_no_version_are_refused() -> None:
    assert run_of(b"aa", b"bb", validator="lying").saw(0, 2, b"ab") is None
    assert run_of(b"aa", b"bb", validator="lying").saw(0, 2, b"ac") is not None
    assert run_of(b"aa", b"bb", validator="lying").saw(0, 2, b"a") is not None


def test_a_seed_draws_the_same_run_again_and_seeds_cover_every_fault() -> None:
    assert str(draw_run(7)) == str(draw_run(7))
    met = set().union(*(draw_run(seed).kinds for seed in range(3000)))
    assert set(LIES) | set(BREAKS) | set(AT_ACCEPT) <= met
    assert any(fault.times == ALWAYS for seed in range(100) for fault in draw_run(seed).plan.faults)
    assert sum(draw_run(seed).must_succeed for seed in range(300)) > 10
