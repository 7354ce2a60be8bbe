"""One fault, two engines, one way to end: one sentence, no traceback, one exit code."""

from __future__ import annotations

import errno
import json
import re
import shutil
from pathlib import Path

import pytest

from berth.checkpoint.errors import ConfigError
from berth.engines.host.main import describe, is_final
from berth.engines.transformers.cache_size import DoesNotFit
from berth.fit.budget import CannotFit
from berth.models.weights.digests import write_digests
from berth.models.weights.source import WeightError
from berth.protocol.messages import Fatal
from engines.host.supervised import engine
from models.checkpoints import save_transformers

MODULES = ["berth.engines.native", "berth.engines.transformers"]


@pytest.mark.parametrize(
    ("error", "final"),
    [
        (ConfigError("config.json: rope_type is x"), True),
        (WeightError("lm_head.weight", "model.safetensors", "is missing"), True),
        (CannotFit(["4 GiB of 2"]), True),
        (DoesNotFit("the KV cache needs 3 bytes"), True),
        (ValueError("degree 3"), True),
        (ModuleNotFoundError("No module named 'transformers'"), True),
        (FileNotFoundError(errno.ENOENT, "No such file"), True),
        (PermissionError(errno.EACCES, "Permission denied"), True),
        (OSError("Error no file named model.safetensors"), True),
        (OSError(errno.EIO, "Input/output error"), False),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (RuntimeError("connection closed by peer"), False),
        (MemoryError(), False),
        (ZeroDivisionError("division by zero"), False),
    ],
)
def test_what_a_fresh_process_would_meet_again_is_final(error: Exception, final: bool) -> None:
    assert is_final(error) is final
    assert describe(error, 0, "engine", serving=False).retry is not final


def test_an_error_while_serving_is_never_final() -> None:
    told = describe(ValueError("a bug"), 1, "engine", serving=True)
    assert told == Fatal(1, "ValueError: a bug", retry=True)


def test_want_of_memory_and_of_a_package_are_said_in_words() -> None:
    torch_says = RuntimeError("[enforce fail] CPUAllocator: can't allocate memory: 9 GB\nat")
    told = describe(torch_says, 0, "engine", serving=False)
    assert told.retry
    assert told.reason.startswith("there is not enough memory: [enforce fail]")
    assert "\n" not in told.reason
    missing = ModuleNotFoundError("No module named 'transformers'")
    told = describe(missing, 0, "transformers", serving=False)
    assert told.reason.endswith("pip install 'berth[transformers]'")


SENTENCES = {
    "no weights": r"model\.embed_tokens\.weight in model\.safetensors: the file is missing",
    "torn": r"model\.norm\.weight in model\.safetensors: the file is truncated: .*",
    "flipped bit": r"model\.norm\.weight in model\.safetensors: its bytes are damaged: CRC-32 .*",
}


def broken(tmp_path: Path, fault: str) -> Path:
    folder = tmp_path / "model"
    save_transformers(folder, "llama")
    match fault:
        case "no weights":
            (folder / "model.safetensors").unlink()
        case "torn":
            weights = folder / "model.safetensors"
            weights.write_bytes(weights.read_bytes()[:-1])
        case "no folder":
            shutil.rmtree(folder)
        case "config":
            (folder / "config.json").write_text(json.dumps({"model_type": "unheard-of"}))
        case "flipped bit":
            weights = folder / "model.safetensors"
            write_digests(folder, [weights.name])
            whole = weights.read_bytes()
            weights.write_bytes(whole[:-9] + bytes([whole[-9] ^ 4]) + whole[-8:])
        case "memory":
            pass
    return folder


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize(
    "fault", ["no weights", "torn", "no folder", "config", "flipped bit", "memory"]
)
def test_both_engines_end_a_fault_of_the_owners_alike(
    fault: str, module: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = broken(tmp_path, fault)
    settings = {"kv_cache_bytes": 1} if fault == "memory" else {}
    with engine(folder, tmp_path, module=module, **settings) as running:
        fatal = running.wait_for(Fatal)
        assert running.process.wait(60) == 1
        more = [message for message in running.received.queue if isinstance(message, Fatal)]
    assert not fatal.retry
    assert fatal.reason
    assert not re.match(r"\w+Error:", fatal.reason)
    if fault in SENTENCES:  # in the same words
        assert re.fullmatch(SENTENCES[fault], fatal.reason)
    assert more == []
    said = capfd.readouterr()
    assert "Traceback" not in said.out + said.err


@pytest.mark.parametrize("module", MODULES)
def test_damaged_weights_are_served_where_nobody_wants_to_know(module: str, tmp_path: Path) -> None:
    folder = broken(tmp_path, "flipped bit")
    with engine(folder, tmp_path, module=module, verify="off") as running:
        assert running.ready().weight_bytes > 0


def test_two_ranks_share_the_checks_and_either_refuses(tmp_path: Path) -> None:
    """The damaged tensor is the file's last: the second rank's part."""
    folder = broken(tmp_path, "flipped bit")
    with engine(folder, tmp_path, degree=2) as running:
        fatal = running.wait_for(Fatal)
        assert fatal.rank == 1
        assert re.fullmatch(SENTENCES["flipped bit"], fatal.reason)
        assert not fatal.retry
