"""rangefs itself, with a window into its event loop: writes ``tasks objects`` to a file, twice a second.

    python tests/campaigns/watched.py FILE mount …

Nothing of it is in the program: users don't look at trio's tasks, tests of leaks do.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

EACH_S = 0.5


class Window(trio.abc.Instrument):
    def __init__(self, file: Path) -> None:
        self._file = file

    def before_run(self) -> None:
        token = trio.lowlevel.current_trio_token()
        threading.Thread(target=self._ask, args=(token,), daemon=True).start()

    def _ask(self, token: trio.lowlevel.TrioToken) -> None:
        while True:
            try:
                token.run_sync_soon(self._look)
            except trio.RunFinishedError:
                return
            time.sleep(EACH_S)

    def _look(self) -> None:
        gc.collect()
        text = f"{trio.lowlevel.current_statistics().tasks_living} {len(gc.get_objects())}"
        fresh = self._file.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self._file)


def main() -> int:
    from rangefs.cli.main import main as rangefs

    window = Window(Path(sys.argv[1]))
    run: Callable[..., Any] = trio.run

    def watched_run(*given: Any, **named: Any) -> Any:
        return run(*given, instruments=[window], **named)

    trio.run = watched_run
    return rangefs(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
