"""What every test gets: one torch thread, since small products only lose to thread barriers."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
