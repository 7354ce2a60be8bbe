"""The engine tells how long a request waited for its first step, once."""

from __future__ import annotations

from pathlib import Path

from engines.native.harness import Engine, random_prompt
from models.checkpoints import save_transformers


def test_the_wait_comes_with_the_first_token_and_never_again(tmp_path: Path) -> None:
    save_transformers(tmp_path, "llama")
    engine = Engine(tmp_path, max_num_seqs=1)
    first = engine.submit(random_prompt(1, 5), max_tokens=4)
    second = engine.submit(random_prompt(2, 5), max_tokens=4)
    waits: dict[int, list[float | None]] = {first: [], second: []}
    while engine.scheduler.stats().running or engine.scheduler.stats().waiting:
        report = engine.core.step()
        for delta in report.deltas if report is not None else ():
            waits[delta.request_id].append(delta.waited)
    for request in (first, second):
        assert len(waits[request]) == 4
        assert waits[request][0] is not None
        assert waits[request][1:] == [None] * 3
    assert (waits[second][0] or 0.0) > (waits[first][0] or 0.0), "one sequence at a time"
