"""A pull ends with the right bytes on the disk, or with a sentence that says what to do."""

from __future__ import annotations

import errno
import json
import logging
import random
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from berth.presets import hub as hub_module
from berth.presets.catalogue import PresetError
from berth.presets.hub import HubSettings, local_copy, pull
from berth.presets.hub_files import PullError, Source
from berth.presets.resolve import resolve_model
from presets.fake_hub import REPOSITORY, FakeHub, commit_of, serve

SMALL = Source(REPOSITORY)
PARTS = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
INDEX = "model.safetensors.index.json"


def files(seed: int = 0) -> dict[str, bytes]:
    """A model in two parts."""
    numbers = random.Random(seed)
    return {
        "README.md": b"# small",
        "config.json": json.dumps({"seed": seed}).encode(),
        INDEX: json.dumps({"weight_map": {"a": PARTS[0], "b": PARTS[1]}}).encode(),
        **{name: numbers.randbytes(300_000) for name in PARTS},
        "pytorch_model.bin": b"never",
        "tokenizer.model": numbers.randbytes(1000),
    }


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    made = FakeHub()
    made.add_commit(files())
    with serve(made):
        yield made


@pytest.fixture
def settings(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubSettings:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no token"))
    return HubSettings(endpoint=hub.url, cache=tmp_path / "cache", offline=False, pause=0.01)


def assert_whole(folder: Path, expected: dict[str, bytes]) -> None:
    for name in ("config.json", INDEX, "tokenizer.model", *PARTS):
        assert (folder / name).read_bytes() == expected[name], name
    assert not (folder / "pytorch_model.bin").exists()
    assert not (folder / "README.md").exists()


def test_a_pull_brings_what_is_needed(hub: FakeHub, settings: HubSettings) -> None:
    done = pull(SMALL, settings)
    assert_whole(done.path, files())
    assert done.commit == commit_of(1)
    assert done.files == 5
    assert done.size == sum(len(files()[n]) for n in ("config.json", INDEX, "tokenizer.model")) + (
        600_000
    )


def test_what_is_there_is_not_fetched_again(hub: FakeHub, settings: HubSettings) -> None:
    pull(SMALL, settings)
    assert len(hub.fetched(PARTS[0])) == 1
    pull(SMALL, settings)
    assert len(hub.fetched(PARTS[0])) == 1


def test_a_plain_folder_holds_plain_files(
    hub: FakeHub, settings: HubSettings, tmp_path: Path
) -> None:
    done = pull(SMALL, settings, tmp_path / "here")
    assert done.path == tmp_path / "here"
    assert_whole(done.path, files())
    assert not any((done.path / name).is_symlink() for name in PARTS)
    assert not (tmp_path / "cache" / "models--someone--small" / "snapshots").exists()


def test_a_cut_connection_goes_on_where_it_broke(
    hub: FakeHub, settings: HubSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It keeps whole chunks, which are larger than these files.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    hub.cuts = {PARTS[0]: 2}
    assert_whole(pull(SMALL, settings).path, files())
    assert hub.fetched(PARTS[0]) == [None, "bytes=150000-", "bytes=220000-"]
    assert hub.fetched(PARTS[1]) == [None]


def test_a_pull_that_was_killed_keeps_its_complete_files(
    hub: FakeHub, settings: HubSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = hub_module.hf_hub_download

    def stop(repository: str, name: str, **more: Any) -> str:
        if name == PARTS[1]:
            raise KeyboardInterrupt
        return real(repository, name, **more)

    monkeypatch.setattr(hub_module, "hf_hub_download", stop)
    with pytest.raises(KeyboardInterrupt):
        pull(SMALL, settings)
    assert local_copy(SMALL, settings) is None
    monkeypatch.setattr(hub_module, "hf_hub_download", real)
    assert_whole(pull(SMALL, settings).path, files())
    assert len(hub.fetched(PARTS[0])) == 1


def test_a_hub_that_stumbles_is_asked_again(hub: FakeHub, settings: HubSettings) -> None:
    def stumble() -> None:
        hub.errors, hub.after_listing = 1, None

    hub.after_listing = stumble
    assert_whole(pull(SMALL, settings).path, files())


def test_a_hub_that_stays_down_is_named(hub: FakeHub, settings: HubSettings) -> None:
    hub.errors = 100
    with pytest.raises(PullError, match="answered 503 when asked for someone/small"):
        pull(SMALL, settings)


def test_a_hub_that_is_not_there_is_named(settings: HubSettings) -> None:
    nowhere = replace(settings, endpoint="http://127.0.0.1:9")
    with pytest.raises(PullError) as raised:
        pull(SMALL, nowhere)
    said = str(raised.value)
    assert said.startswith("someone/small is not on this machine and has to be downloaded, but ")
    assert "http://127.0.0.1:9 cannot be reached (ConnectError)" in said
    assert "HF_ENDPOINT" in said


def test_a_connection_that_is_lost_in_between_names_the_mirror_too(
    hub: FakeHub, settings: HubSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose() -> None:
        raise hub_module.LocalEntryNotFoundError("no network")

    monkeypatch.setattr(hub_module, "hf_hub_download", lambda *a, **k: lose())
    with pytest.raises(PullError, match=r"the connection to .* broke .*--mirror of berth pull"):
        pull(SMALL, settings)


def test_with_a_mirror_no_other_host_is_asked(
    hub: FakeHub, settings: HubSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """huggingface_hub 2.4 asks the public hub for /api/agent-harnesses, unless it just has."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: Any, *more: Any, **others: Any) -> Any:
        asked.append(str(host))
        if host != "127.0.0.1":
            raise socket.gaierror(f"{host} is not to be asked")
        return real(host, *more, **others)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr("huggingface_hub.utils._detect_agent._registry", None)
    monkeypatch.setattr("huggingface_hub.constants.AGENT_HARNESSES_PATH", str(tmp_path / "none"))
    assert_whole(pull(SMALL, settings).path, files())
    assert set(asked) == {"127.0.0.1"}
    assert {path.split("/")[1] for _, path, _ in hub.requests} == {"api", "someone"}
    assert {path for _, path, _ in hub.requests if path.startswith("/api/")} == {
        "/api/models/someone/small"
    }


def test_an_adapter_is_refused_by_the_name_of_its_base(
    hub: FakeHub, settings: HubSettings, tmp_path: Path
) -> None:
    said = json.dumps({"base_model_name_or_path": "Qwen/Qwen3-0.6B", "peft_type": "LORA"}).encode()
    hub.add_commit({"adapter_config.json": said, "adapter_model.safetensors": b"x" * 1000})
    with pytest.raises(PullError, match=r"someone/small: it is an adapter .* of Qwen/Qwen3-0\.6B"):
        pull(SMALL, settings, tmp_path / "here")
    assert not (tmp_path / "here").exists()
    assert hub.fetched("adapter_model.safetensors") == []


def test_the_index_is_asked_which_files_there_are(hub: FakeHub, settings: HubSettings) -> None:
    index = {"weight_map": {"a": PARTS[0], "b": "./mtp.safetensors"}}
    hub.add_commit(
        {
            **files(),
            INDEX: json.dumps(index).encode(),
            "mtp.safetensors": b"m" * 500,
            "model.fp16-00001-of-00001.safetensors": b"f" * 500,
        }
    )
    done = pull(SMALL, settings)
    names = {path.name for path in done.path.iterdir()}
    assert names == {"config.json", INDEX, "tokenizer.model", PARTS[0], "mtp.safetensors"}
    assert local_copy(SMALL, settings) == done.path


def test_a_second_number_format_is_not_mixed_with_the_first(
    hub: FakeHub, settings: HubSettings, tmp_path: Path
) -> None:
    whole = {"config.json": b"{}", "tokenizer.json": b"{}"}
    hub.add_commit({**whole, "model.safetensors": b"m" * 50, "model.fp16.safetensors": b"f" * 50})
    half = replace(SMALL, variant="fp16")
    assert (pull(half, settings).path / "model.fp16.safetensors").is_file()
    # What was asked for by name is not taken for the model itself.
    found = resolve_model(REPOSITORY, settings).path
    assert (found / "model.safetensors").read_bytes() == b"m" * 50
    with pytest.raises(PullError, match=r"holds other weights already \(model\.safetensors\)"):
        pull(half, settings)
    names = {path.name for path in pull(half, settings, tmp_path / "half").path.iterdir()}
    assert {name for name in names if not name.startswith(".")} == {
        *whole,
        "model.fp16.safetensors",
    }


def test_one_gguf_file_of_several_is_not_taken_for_the_model(
    hub: FakeHub, settings: HubSettings
) -> None:
    hub.add_commit({**files(), "m.Q8_0.gguf": b"8" * 100})
    assert resolve_model(f"{REPOSITORY}:Q8_0", settings).path.name == "m.Q8_0.gguf"
    assert_whole(resolve_model(REPOSITORY, settings).path, files())


def test_a_folder_of_a_repository_is_a_model_of_its_own(
    hub: FakeHub, settings: HubSettings
) -> None:
    inner = {f"fp8/{name}": content for name, content in files().items()}
    hub.add_commit({"README.md": b"# two", **inner})
    done = pull(Source(REPOSITORY, "fp8"), settings)
    assert done.path.name == "fp8"
    assert_whole(done.path, files())
    assert local_copy(Source(REPOSITORY, "fp8"), settings) == done.path


LEFT_OUT = {
    "tokenizer.model": "tokeniser",
    "tokenizer_config.json": "tokenizer_config.json",
    "generation_config.json": "generation_config.json",
    "chat_template.jinja": "chat_template.jinja",
}


@pytest.fixture
def full(hub: FakeHub, settings: HubSettings) -> Path:
    """A snapshot as another program leaves it: everything of a commit, and nothing marked."""
    hub.add_commit({**files(), **dict.fromkeys(LEFT_OUT, b"{}")})
    folder = pull(SMALL, settings).path
    marks = settings.repository(REPOSITORY) / ".no_exist"
    for mark in sorted(marks.rglob("*"), reverse=True):
        mark.rmdir() if mark.is_dir() else mark.unlink()
    hub.requests.clear()
    return folder


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_another_program_left_out_is_fetched_once(
    hub: FakeHub, settings: HubSettings, full: Path, name: str
) -> None:
    (full / name).unlink()
    hub.add_commit(files(seed=1))  # the branch has moved, and the copy stays what it is
    assert resolve_model(REPOSITORY, settings).path == full
    assert (full / name).read_bytes() == b"{}"
    assert hub.fetched(PARTS[0]) == []
    asked = len(hub.requests)
    assert resolve_model(REPOSITORY, settings).path == full
    assert len(hub.requests) == asked


def test_what_the_repository_has_not_is_asked_for_once(hub: FakeHub, settings: HubSettings) -> None:
    folder = pull(SMALL, settings).path  # it has neither template nor generation_config.json
    asked = len(hub.requests)
    assert resolve_model(REPOSITORY, settings).path == folder
    assert len(hub.requests) == asked


def test_a_whole_copy_is_used_without_a_network(settings: HubSettings, full: Path) -> None:
    away = replace(settings, endpoint="http://127.0.0.1:9")
    assert resolve_model(REPOSITORY, away).path == full
    assert resolve_model(REPOSITORY, replace(away, offline=True)).path == full


@pytest.mark.parametrize("offline", [True, False])
def test_a_copy_without_tokeniser_is_refused_where_the_hub_cannot_be_asked(
    settings: HubSettings, full: Path, offline: bool
) -> None:
    (full / "tokenizer.model").unlink()
    away = replace(settings, endpoint="http://127.0.0.1:9", offline=offline)
    why = "HF_HUB_OFFLINE is set" if offline else r"--mirror of berth pull"
    with pytest.raises(PullError, match=rf"on this machine \(.*\) has no tokeniser, and .*{why}"):
        resolve_model(REPOSITORY, away)


@pytest.mark.parametrize("name", sorted(LEFT_OUT.keys() - {"tokenizer.model"}))
def test_a_copy_that_lacks_less_is_served_and_that_is_said(
    settings: HubSettings, full: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    (full / name).unlink()
    with caplog.at_level(logging.WARNING):
        found = resolve_model(REPOSITORY, replace(settings, offline=True))
    assert found.path == full
    assert f"has no {LEFT_OUT[name]}; it is served without" in caplog.text


def test_a_template_in_the_tokenisers_configuration_is_one(
    hub: FakeHub, settings: HubSettings, full: Path
) -> None:
    (full / "chat_template.jinja").unlink()
    (full / "tokenizer_config.json").unlink()
    (full / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    assert resolve_model(REPOSITORY, settings).path == full
    assert hub.requests == []


def test_a_wrong_checksum_is_refused_and_the_file_deleted(
    hub: FakeHub, settings: HubSettings
) -> None:
    hub.damaged = {PARTS[1]}
    with pytest.raises(PullError, match=f"{PARTS[1]} of someone/small arrived damaged"):
        pull(SMALL, settings)
    assert local_copy(SMALL, settings) is None
    hub.damaged = set()
    assert_whole(pull(SMALL, settings).path, files())
    assert len(hub.fetched(PARTS[0])) == 1


def test_a_file_that_rots_on_the_disk_is_found(hub: FakeHub, settings: HubSettings) -> None:
    part = pull(SMALL, settings).path / PARTS[0]
    part.resolve().write_bytes(bytes(300_000))
    with pytest.raises(PullError, match="arrived damaged"):
        pull(SMALL, settings)
    assert_whole(pull(SMALL, settings).path, files())


def test_space_is_looked_at_first(hub: FakeHub, settings: HubSettings) -> None:
    asked: list[Path] = []

    def free(path: Path) -> int:
        asked.append(path)
        return 300 * 2**20 - 2**26

    with pytest.raises(PullError, match=r"needs 0\.3 GiB at .*cache, where 0\.2 GiB are free"):
        pull(SMALL, replace(settings, free_bytes=free))
    assert hub.fetched(PARTS[0]) == []
    assert all(path.exists() for path in asked)


def test_a_full_disk_in_the_middle_is_named(
    hub: FakeHub, settings: HubSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = hub_module.hf_hub_download

    def fill_up(repository: str, name: str, **more: Any) -> str:
        if name == PARTS[1]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(repository, name, **more)

    monkeypatch.setattr(hub_module, "hf_hub_download", fill_up)
    with pytest.raises(PullError, match="the disk filled up while someone/small was pulled"):
        pull(SMALL, settings)
    monkeypatch.undo()
    assert_whole(pull(SMALL, replace(settings, token=None)).path, files())
    assert len(hub.fetched(PARTS[0])) == 1


def test_a_gated_model_without_a_token_says_what_to_do(hub: FakeHub, settings: HubSettings) -> None:
    hub.gated_for = "hf_right"
    sentence = f"someone/small is gated: accept its licence at {hub.url}/someone/small, then set"
    with pytest.raises(PullError, match=sentence):
        pull(SMALL, settings)
    with pytest.raises(PullError, match="the account of this token has no access") as caught:
        pull(SMALL, replace(settings, token="hf_wrong"))
    assert "hf_wrong" not in str(caught.value)
    assert_whole(pull(SMALL, replace(settings, token="hf_right")).path, files())


def test_a_repository_that_is_none_is_named(hub: FakeHub, settings: HubSettings) -> None:
    with pytest.raises(PullError, match="there is no repository nobody/nothing"):
        pull(Source("nobody/nothing"), settings)


def test_a_branch_that_moves_in_between_mixes_nothing(hub: FakeHub, settings: HubSettings) -> None:
    def move() -> None:
        hub.add_commit(files(seed=1))
        hub.after_listing = None

    hub.after_listing = move
    done = pull(SMALL, settings)
    assert done.commit == commit_of(1)
    assert_whole(done.path, files())
    later = pull(SMALL, settings)
    assert later.commit == commit_of(2)
    assert_whole(later.path, files(seed=1))


def test_a_pinned_commit_stays_what_it_was(hub: FakeHub, settings: HubSettings) -> None:
    hub.add_commit(files(seed=1))
    done = pull(Source(REPOSITORY, revision=commit_of(1)), settings)
    assert_whole(done.path, files())


def test_a_revision_that_is_gone_is_named(hub: FakeHub, settings: HubSettings) -> None:
    with pytest.raises(PullError, match="has no revision 0123; it may have been moved"):
        pull(Source(REPOSITORY, revision="0123"), settings)


def test_offline_uses_what_is_there_and_nothing_else(hub: FakeHub, settings: HubSettings) -> None:
    offline = replace(settings, offline=True, endpoint="http://127.0.0.1:9")
    with pytest.raises(PullError, match="cannot be pulled while HF_HUB_OFFLINE is set"):
        resolve_model(REPOSITORY, offline)
    folder = pull(SMALL, settings).path
    found = resolve_model(REPOSITORY, offline)
    assert (found.path, found.name) == (folder, "small")
    assert found.preset is None
    assert found.template is None


@pytest.mark.parametrize("lost", [*PARTS, "config.json"])
def test_a_copy_that_lacks_a_part_is_not_complete(
    hub: FakeHub, settings: HubSettings, lost: str
) -> None:
    folder = pull(SMALL, settings).path
    assert local_copy(SMALL, settings) == folder
    (folder / lost).unlink()
    assert local_copy(SMALL, settings) is None


def test_serving_a_hub_model_pulls_it_once(hub: FakeHub, settings: HubSettings) -> None:
    folder = resolve_model(REPOSITORY, settings).path
    asked = len(hub.requests)
    assert resolve_model(REPOSITORY, settings).path == folder
    assert len(hub.requests) == asked


def test_one_gguf_file_resolves_to_itself(hub: FakeHub, settings: HubSettings) -> None:
    parts = {f"q4/m-0000{i}-of-00002.gguf": bytes([i]) * 100 for i in (1, 2)}
    hub.add_commit(parts | {"m.Q8_0.gguf": b"8" * 100})
    found = resolve_model(f"{REPOSITORY}:m.Q8_0.gguf", settings)
    assert found.path.name == "m.Q8_0.gguf"
    assert found.path.read_bytes() == b"8" * 100
    first, second = parts
    split = resolve_model(f"{REPOSITORY}:{first}", settings).path
    assert split.read_bytes() == parts[first]
    assert (split.parent / Path(second).name).read_bytes() == parts[second]
    (split.parent / Path(second).name).unlink()
    assert local_copy(Source(REPOSITORY, first), settings) is None


def test_a_folder_or_file_is_used_as_it_is(tmp_path: Path) -> None:
    assert resolve_model(str(tmp_path)).path == tmp_path
    file = tmp_path / "some.gguf"
    file.write_bytes(b"GGUF")
    assert (resolve_model(str(file)).path, resolve_model(str(file)).name) == (file, "some")


def test_a_preset_resolves_to_its_weights_and_template(
    hub: FakeHub, settings: HubSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {
        "name": "mine",
        "title": "Mine",
        "hub": REPOSITORY,
        "revision": commit_of(1),
        "licence": "mit",
        "context": 8,
        "engine": "native",
        "template": "vicuna",
        "unknown": "it is a test",
    }
    (tmp_path / "few").mkdir()
    content = {"family": "few", "title": "Few", "presets": [entry]}
    (tmp_path / "few" / "preset.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.setenv("BERTH_PRESETS", str(tmp_path))
    hub.add_commit(files(seed=1))
    for name in ("mine", REPOSITORY):
        found = resolve_model(name, settings)
        assert (found.name, found.template) == ("mine", "vicuna")
        assert_whole(found.path, files())


def test_the_catalogues_own_weights_need_no_hub() -> None:
    found = resolve_model("pocket")
    assert found.name == "pocket"
    assert found.template == "llama-2"
    assert found.path.is_dir()


def test_weights_that_no_hub_has_say_where_they_come_from() -> None:
    with pytest.raises(PullError, match="no hub has the weights of alpaca-7b: a folder of your"):
        resolve_model("alpaca-7b")


def test_a_name_that_is_nothing_is_refused() -> None:
    with pytest.raises(PresetError, match="there is no folder a/b/c, and it is no HUB_ID"):
        resolve_model("a/b/c")
    with pytest.raises(PresetError, match="there is no preset"):
        resolve_model("no-such-model")
