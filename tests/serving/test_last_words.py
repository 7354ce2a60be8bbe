"""An engine's last own line and the rank that failed are found in what torchrun prints."""

from __future__ import annotations

from berth.serving.last_words import FailedRank, LastWords

# Of torch 2.13, shortened.
PAGE = """\
INFO loading
the weights are on fire
W1128 06:30:03.410000 10613 torch/distributed/elastic/multiprocessing/api.py:1028] Sending process \
10621 closing signal SIGTERM
E1128 06:30:03.412000 10613 torch/distributed/elastic/multiprocessing/api.py:1002] failed \
(exitcode: 3) local_rank: 1 (pid: 10622) of binary: /usr/bin/python
Traceback (most recent call last):
  File "torch/distributed/run.py", line 1032, in <module>
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
engine FAILED
  exitcode  : -15 (pid: 10621)  (SIGTERM)
============================================================
"""


def test_torchruns_page_is_not_the_engines_last_word() -> None:
    words = LastWords()
    logged = [line for line in PAGE.splitlines() if words.take(line)]
    assert words.line == "the weights are on fire"
    assert words.failed == FailedRank(local_rank=1, pid=10622, code=3)
    assert logged == PAGE.splitlines()[:4]


def test_without_torchrun_the_last_line_counts() -> None:
    words = LastWords()
    for line in ("Traceback (most recent call last):", '  File "x"', "KeyError: 'RANK'", ""):
        if line:
            assert words.take(line)
    assert (words.line, words.failed) == ("KeyError: 'RANK'", None)
