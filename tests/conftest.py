"""What every test of the shells needs: scratch space others may read, sample trees, servers by name."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests import trees
from tests.servers import Apache, Caddy, Lighttpd, Nginx, PythonHttp, RcloneHttp
from tests.serving import MissingBinary, Server

ServerMaker = Callable[[Path, Path], Server]
StartServer = Callable[[ServerMaker, Path], Server]

# Every kind of server, each in the shapes its listings come in.
FLAVOURS: dict[str, ServerMaker] = {
    "nginx": Nginx,
    "nginx-json": partial(Nginx, index="json"),
    "nginx-inexact": partial(Nginx, exact_size=False),
    "nginx-noetag": partial(Nginx, etag=False),
    "apache-plain": Apache,
    "apache-fancy": partial(Apache, options="FancyIndexing NameWidth=*"),
    "apache-htmltable": partial(Apache, options="FancyIndexing HTMLTable"),
    "apache-versionsort": partial(Apache, options="FancyIndexing VersionSort FoldersFirst"),
    "lighttpd": Lighttpd,
    "caddy": Caddy,
    "rclone": RcloneHttp,
    "http.server": PythonHttp,
}


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A folder that other accounts may enter (Apache gives up root), unlike pytest's own; removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="rangefs-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(os.fsencode(folder))


@pytest.fixture
def www(scratch: Path) -> Iterator[Path]:
    """An empty folder to serve, this test's own."""
    folder = Path(tempfile.mkdtemp(prefix="www-", dir=scratch))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(os.fsencode(folder))


@pytest.fixture(scope="session")
def sample(scratch: Path) -> Path:
    """The sample tree: shared by all tests, so never changed."""
    root = scratch / "sample"
    trees.sample_tree(root)
    return root


def starter(stack: ExitStack, scratch: Path) -> StartServer:
    """Start servers that end with `stack`; one that is not installed fails the test with one line."""

    def start(maker: ServerMaker, root: Path) -> Server:
        try:
            return stack.enter_context(maker(root, Path(tempfile.mkdtemp(prefix="server-", dir=scratch))))
        except MissingBinary as missing:
            if os.environ.get("RANGEFS_ALLOW_SKIP") == "1":
                pytest.skip(str(missing))
            pytest.fail(f"{missing} (or set RANGEFS_ALLOW_SKIP=1)", pytrace=False)

    return start


@pytest.fixture
def start_server(scratch: Path) -> Iterator[StartServer]:
    """``start_server(Nginx, root)``: a server of this test's own."""
    with ExitStack() as stack:
        yield starter(stack, scratch)


@pytest.fixture(scope="session")
def _sample_servers(scratch: Path) -> Iterator[StartServer]:
    with ExitStack() as stack:
        yield starter(stack, scratch)


@pytest.fixture(scope="session", params=sorted(FLAVOURS))
def any_server(request: pytest.FixtureRequest, sample: Path, _sample_servers: StartServer) -> Server:
    """Each kind of server in turn, over the sample tree; shared, so never stopped or paused."""
    server = _sample_servers(FLAVOURS[request.param], sample)
    server.flavour = request.param
    return server


@pytest.fixture(scope="session")
def nginx(sample: Path, _sample_servers: StartServer) -> Server:
    """nginx over the sample tree, with its log; shared, so never stopped or paused."""
    return _sample_servers(Nginx, sample)
