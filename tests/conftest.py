"""What every test gets: one torch thread, since small products only lose to thread barriers; and no
keys that a person has made on this machine."""

from __future__ import annotations

import os
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
# A folder that is never made: no server under test has a database unless its test names one.
os.environ["BERTH_STATE_DIR"] = os.path.join(tempfile.gettempdir(), f"berth-no-state-{os.getpid()}")
os.environ.pop("BERTH_DATABASE", None)
