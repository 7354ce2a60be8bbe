"""The compiled kernels that this process runs.

No compiler, no harm: `library()` then gives None and ops.py runs the same arithmetic through
torch. An image sets BERTH_KERNELS to the folder of those it compiled when it was built.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
from pathlib import Path

from berth.kernels.build import BuildError, build, cache_path
from berth.kernels.variants import best_in

log = logging.getLogger(__name__)


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, built at first use; None if that is impossible or not wanted.

    torch must be imported before: its OpenMP runtime is then the one the kernels run on, and both
    share one pool of threads.
    """
    given = os.environ.get("BERTH_KERNELS")
    if given == "off":
        return None
    path = Path(given) if given else cache_path()
    try:
        if path.is_dir():
            path = best_in(path)
        elif not path.exists():
            build(path)
        return ctypes.CDLL(str(path))
    except (BuildError, OSError) as error:
        log.warning("CPU kernels are off, torch is used instead (slower): %s", error)
        return None
