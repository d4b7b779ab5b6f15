"""The scripted origin and the oracle themselves: a campaign with a blind judge proves nothing."""

from __future__ import annotations

import contextlib
import http.client
import ssl
import time
from collections.abc import Callable, Iterator

import pytest
import trio
import trio.testing

from tests.breaks import AT_CONNECT, BREAKS, DRIP_S, MANNERS, drip
from tests.campaigns.drawing import OFTEN, TABLE, Run, draw_run
from tests.campaigns.oracle import Oracle
from tests.certificates import EXPIRED, FOREIGN, UNKNOWN, Certificates, make_certificates
from tests.origin import BAD_CERTIFICATES, TLS_FAULTS, Origin
from tests.plans import ALWAYS, LIES, Ask, Fault, Plan
from tests.wires import ODD_HEADS, ODD_WIRES

BODY = bytes(range(256)) * 1000


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(["run"]) as origin:
        yield origin


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def tls_origin(certificates: Certificates) -> Iterator[Origin]:
    with Origin(["run"], certificates) as origin:
        origin.folders["run"] = {"f": Plan([BODY])}
        yield origin


def ask(origin: Origin, path: str, span: str = "", method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", origin.port, timeout=0.5)
    if origin.certificates:
        context = ssl.create_default_context(cafile=origin.certificates.trusted)
        connection = http.client.HTTPSConnection("127.0.0.1", origin.port, timeout=0.5, context=context)
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


@pytest.mark.parametrize("kind", sorted(kind for kind in BREAKS if not kind.startswith(("drip", "garbage"))))
@pytest.mark.parametrize("tls", [False, True])
def test_a_break_breaks_once_and_is_over(origin: Origin, tls_origin: Origin, kind: str, tls: bool) -> None:
    broken = tls_origin if tls else origin
    broken.folders["run"] = {"f": Plan([BODY], faults=(Fault(kind, 0, 1),))}
    try:
        seen = ask(broken, "/run/f")[1]
    except (OSError, http.client.HTTPException):
        seen = b""  # but http.client takes the close within the headers for their end
    assert seen != BODY
    assert ask(broken, "/run/f")[1] == BODY


@pytest.mark.parametrize("kind", ["garbage headers", "garbage within headers"])
def test_garbage_in_a_head_is_no_answer(origin: Origin, kind: str) -> None:
    origin.folders["run"] = {"f": Plan([BODY], faults=(Fault(kind, 0, 1),))}
    with contextlib.suppress(http.client.HTTPException):  # it reads over what is no header
        assert ask(origin, "/run/f")[1] != BODY
    assert ask(origin, "/run/f")[1] == BODY


async def test_a_drip_brings_all_of_it_a_byte_at_a_time(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await drip(theirs, b"slow loris")
    assert trio.current_time() == pytest.approx(10 * DRIP_S)
    assert await ours.receive_some() == b"slow loris"


def test_garbage_in_a_body_shows_among_chunks_and_among_records_of_tls(origin: Origin, tls_origin: Origin) -> None:
    origin.folders["run"] = {"f": Plan([BODY], framing="chunked", faults=(Fault("garbage chunk", 0, 1),))}
    tls_origin.folders["run"] = {"f": Plan([BODY], faults=(Fault("garbage body", 0, 1),))}
    for broken in (origin, tls_origin):
        with pytest.raises((OSError, http.client.HTTPException)):
            ask(broken, "/run/f")
        assert ask(broken, "/run/f")[1] == BODY


@pytest.mark.parametrize("kind", sorted({*AT_CONNECT, *TLS_FAULTS} - {"refused connect", "drip tls"}))
def test_a_broken_connection_is_the_next_one_and_no_other(tls_origin: Origin, kind: str) -> None:
    tls_origin.break_connections(Fault(kind, 0, 1))
    with pytest.raises((OSError, http.client.HTTPException)):
        ask(tls_origin, "/run/f")
    assert ask(tls_origin, "/run/f")[1] == BODY


@pytest.mark.parametrize(
    ("kind", "why"),
    [(UNKNOWN, "self-signed"), (EXPIRED, "expired"), (FOREIGN, "IP address mismatch")],
)
def test_a_bad_certificate_is_bad_in_one_way(tls_origin: Origin, kind: str, why: str) -> None:
    tls_origin.break_connections(Fault(kind, 0, 1))
    with pytest.raises(ssl.SSLCertVerificationError, match=why):
        ask(tls_origin, "/run/f")


def test_connections_are_refused_until_it_listens_again(origin: Origin) -> None:
    origin.folders["run"] = {"f": Plan([BODY])}
    origin.refuse()
    until(lambda: refused(origin))
    origin.listen()
    until(lambda: not refused(origin))
    assert ask(origin, "/run/f")[1] == BODY


def refused(origin: Origin) -> bool:
    try:
        ask(origin, "/")
    except ConnectionError:
        return True
    return False


def until(holds: Callable[[], bool]) -> None:
    """The origin's own thread opens and closes the door."""
    for _ in range(200):
        if holds():
            return
        time.sleep(0.01)
    pytest.fail(f"it never came: {holds}")


@pytest.mark.parametrize("kind", sorted(ODD_HEADS))
def test_an_odd_head_is_not_the_usual_one(kind: str) -> None:
    async def heads() -> bytes:
        ours, theirs = trio.testing.memory_stream_pair()
        with trio.move_on_after(0.1):
            await ODD_HEADS[kind](theirs, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n")
        await theirs.aclose()
        return b"".join([bytes(piece) async for piece in ours])

    seen = trio.run(heads)
    assert seen
    assert seen != b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"


@pytest.mark.parametrize("kind", sorted(LIES))
def test_a_lie_changes_the_answer(kind: str) -> None:
    asked = [Plan([BODY]).answer(Ask("GET", "/run/f", headers)) for headers in ({"range": "bytes=100-199"}, {})]
    assert any(LIES[kind](honest) != honest for honest in asked)


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
    return Oracle(Run(0, Plan(list(bodies), **nature)))  # type: ignore[arg-type]  # str fields only


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


def test_a_seed_draws_the_same_run_again() -> None:
    assert str(draw_run(7)) == str(draw_run(7))
    assert sum(draw_run(seed).must_succeed for seed in range(300)) > 10


def test_the_short_form_meets_every_fault_in_every_phase_once_often_and_always() -> None:
    met: set[tuple[str, int]] = set()
    for run in map(draw_run, range(300)):
        met |= {(fault.kind, fault.times) for fault in (*run.plan.faults, *run.connection_faults)}
        met |= {(kind, 1) for kind in run.kinds} if run.must_succeed else set()
    assert set(TABLE) <= met
    assert {kind for kind, _ in TABLE} == {*AT_CONNECT, *TLS_FAULTS, *BREAKS, *ODD_WIRES, *LIES}
    assert {*BREAKS} == {
        f"{manner} {phase}" for manner in MANNERS for phase in ("headers", "within headers", "body", "chunk")
    }
    assert set(BAD_CERTIFICATES) <= set(TLS_FAULTS)
    assert {times for _, times in TABLE} == {1, OFTEN, ALWAYS}
