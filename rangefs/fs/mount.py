"""The wiring of one mount: who is started, in which order, and who ends when.

1. The cache is locked and recovered, the source is opened and asked once: what
   can fail for a reason of the user's fails before anything is mounted. A source
   that does not answer is no such reason where the cache knows it (`reaching`).
2. The kernel is given the mount point (`pyfuse3.init`).
3. One nursery runs everything: the FUSE loop, the store's background work,
   flights, the control socket, signals. When the FUSE loop ends (umount, a
   signal, ``rangefs umount``) the nursery is cancelled.
4. The mount is closed, then the cache (its last commit), then the source.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
import urllib.parse
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pyfuse3
import trio

from rangefs.core.figures import Figures
from rangefs.core.settings import MountSettings, Weak
from rangefs.errors import MountError, RangefsError
from rangefs.fs.clock import AwakeClock
from rangefs.fs.kernel import MAX_BACKGROUND, connections, is_over, raise_descriptor_limit, tune
from rangefs.fs.namespace import Namespace
from rangefs.fs.operations import Operations
from rangefs.fs.reaching import Reached, reach
from rangefs.fs.tree import Folder
from rangefs.fs.turns import Turns
from rangefs.ops.control import control_path, serve_control
from rangefs.ops.notify import notifier_from
from rangefs.ops.status import Identity, State, status_of
from rangefs.read.flights import Flights
from rangefs.read.reader import Reader
from rangefs.sources.base import Source
from rangefs.sources.later import later
from rangefs.sources.mirrored import open_mirrored
from rangefs.sources.mirrors import Mirrors
from rangefs.sources.offline import Offline
from rangefs.store.store import Store

log = logging.getLogger(__name__)

# pyfuse3 starts tasks as requests need them, 99 by default; each background slot may need one, and look-ups more.
MAX_TASKS = 2 * MAX_BACKGROUND
# A signal lets the requests under way end by themselves for this long.
GRACE_S = 1.0
# How often it is looked whether the mount is still there.
UNMOUNT_LOOK_S = 0.5


def serve(settings: MountSettings, on_ready: Callable[[], None]) -> None:
    """Mount, and serve until unmounted.

    on_ready  called once, when the mount answers

    Raises `RangefsError` (one line, says what to do) where it can't be mounted; nothing is left mounted then.
    """
    raise_descriptor_limit()
    trio.run(_serve, settings, on_ready, clock=AwakeClock())


async def _serve(settings: MountSettings, on_ready: Callable[[], None]) -> None:
    figures = Figures()
    source = open_mirrored(settings.source, settings.mirrors, settings.upstream, figures.upstream)
    if settings.offline:
        source = Offline(source)
    try:
        store = await Store.open(settings.cache, source.identity, figures.cache)
        try:
            reached = await reach(source, store, settings.upstream)
            await _Mount(settings, source, store, figures, reached).run(on_ready)
        finally:
            with trio.CancelScope(shield=True):
                await store.close()
    finally:
        with trio.CancelScope(shield=True):
            await source.aclose()


class _Mount:
    """What runs while the mount is there."""

    def __init__(
        self, settings: MountSettings, source: Source, store: Store, figures: Figures, reached: Reached
    ) -> None:
        self._settings = settings
        self._source = source
        self._reached = reached
        self._store = store
        self._figures = figures
        self._limits: tuple[str, ...] = ()

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Until the FUSE loop ends. Raises `MountError` where it can't begin."""
        failure: RangefsError | None = None
        try:
            async with trio.open_nursery() as nursery:
                self._wire(nursery)
                self._init()
                try:
                    await self._loop(nursery, on_ready)
                finally:
                    pyfuse3.close()
                nursery.cancel_scope.cancel()
        except* RangefsError as group:
            failure = _first(group)
        if failure is not None:
            raise failure

    def _wire(self, nursery: trio.Nursery) -> None:
        settings, figures = self._settings, self._figures
        timeout_s = settings.upstream.read_timeout_s
        absence, root = self._reached.absence, self._reached.root
        source = self._source if absence is None else later(self._source)
        flights = Flights(source, self._store, nursery, figures, settings.memory_bytes, timeout_s)
        whole_bytes, spool = settings.max_full_fetch_bytes, settings.weak is Weak.SPOOL
        self._reader = Reader(flights, self._store, nursery, figures, timeout_s, whole_bytes, spool)
        self._names = Namespace(source, self._store, self._reader, settings, figures, nursery, _invalidate)
        if absence is not None:
            log.warning("upstream can't be reached, the cache stands in for it: %s", absence)
            self._names.asking.failed(absence)
        if root is not None:
            self._names.folders.begin(root, self._reached.asked_at)
        turns = Turns()
        turns.install()
        self._operations = Operations(self._names, self._reader, settings, turns)

    def _init(self) -> None:
        """Hand the mount point to the kernel; requests queue there until the loop runs."""
        fsname = urllib.parse.quote(self._source.url(b""), safe="/:?=&@+~!$()*;[]")  # a comma would end the option
        options = {"default_permissions", "ro", "nosuid", "nodev", "subtype=rangefs", f"fsname={fsname}"}
        if self._settings.view.allow_other:
            options.add("allow_other")
        others = connections()
        try:
            pyfuse3.init(self._operations, str(self._settings.mountpoint), options)
        except RuntimeError as exc:
            where = self._settings.mountpoint
            raise MountError(f"cannot mount on {where}: FUSE refused; `rangefs doctor` says more") from exc
        self._connections = connections() - others

    async def _loop(self, nursery: trio.Nursery, on_ready: Callable[[], None]) -> None:
        notifier = notifier_from(os.environ)
        nursery.start_soon(_outlived, self._store.run)
        nursery.start_soon(_outlived, partial(self._names.asking.recover, self._names.folders.probe))
        if isinstance(self._source, Mirrors):
            nursery.start_soon(_outlived, self._source.run)
        nursery.start_soon(notifier.keep_alive)
        nursery.start_soon(_stop_on_signal, nursery.cancel_scope)
        nursery.start_soon(self._stop_when_unmounted, nursery.cancel_scope)
        nursery.start_soon(self._announce, on_ready)
        await nursery.start(serve_control, control_path(self._settings.mountpoint), {"status": self._status()})
        log.info("%s is mounted on %s", self._source.url(b""), self._settings.mountpoint)
        try:
            await pyfuse3.main(max_tasks=MAX_TASKS)
        finally:
            notifier.stopping()

    async def _stop_when_unmounted(self, scope: trio.CancelScope) -> None:
        """Nobody is there to be answered any more: pyfuse3 alone would wait until each read under way is over."""
        while not any(map(is_over, self._connections)):
            await trio.sleep(UNMOUNT_LOOK_S)
        scope.cancel()

    async def _announce(self, on_ready: Callable[[], None]) -> None:
        """Say so once the mount answers a system call. From a thread: the loop must be free to answer."""
        # What start-up has made stays until the end: full collections, which stop every reader, need not look at it.
        # (37 to 51 ms each before, under 256 readers; tests/bench/dead_origin.py)
        gc.collect()
        gc.freeze()
        self._limits = await trio.to_thread.run_sync(tune, self._settings.mountpoint, abandon_on_cancel=True)
        on_ready()

    def _status(self) -> Callable[[dict[str, Any]], Any]:
        identity = Identity(str(self._settings.mountpoint), self._source.url(b""), os.getpid(), time.monotonic())

        async def status(request: dict[str, Any]) -> dict[str, Any]:
            mirrors = self._source if isinstance(self._source, Mirrors) else None
            reasons = [*(mirrors.reasons if mirrors else ()), *self._store.reasons, *self._limits]
            state = State.DEGRADED if reasons else State.OK
            trouble = "--offline" if self._settings.offline else self._names.asking.reason
            if trouble is not None and not (mirrors and mirrors.answer):
                state = State.OFFLINE
                reasons.insert(0, trouble)
            shown = status_of(identity, self._figures, self._reader.latency, time.monotonic(), state, reasons)
            return shown if mirrors is None else {**shown, "mirrors": list(mirrors.shown())}

        return status


def _invalidate(parent: Folder, name: bytes) -> None:
    """Make the kernel look the name up again. In pyfuse3's own thread: done here it may deadlock."""
    pyfuse3.invalidate_entry_async(pyfuse3.InodeT(parent.ino), pyfuse3.FileNameT(name), ignore_enoent=True)


async def _outlived(run: Callable[[], Awaitable[None]]) -> None:
    """Run what runs beside the readers. A bug there is logged and it begins again: the mount goes on without it."""
    while True:
        try:
            await run()
        except Exception:
            log.exception("work beside the readers failed: a bug in rangefs")
        await trio.sleep(GRACE_S)


async def _stop_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async for number in signals:
            log.info("%s: unmounting", signal.Signals(number).name)
            pyfuse3.terminate()
            await trio.sleep(GRACE_S)
            scope.cancel()


def _first(group: BaseExceptionGroup[RangefsError]) -> RangefsError:
    """One of them: they are all about the same mount."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
