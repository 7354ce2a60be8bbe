"""The model that a command names: a preset, a folder, or an id on the hub. Reads, never runs it.

Of a hub's repository only config.json and the headers of its safetensors files are read, by range
requests: a few hundred kilobytes of a model of any size.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast
from urllib.parse import quote

from berth.checkpoint.choose import engine_for
from berth.checkpoint.config import ModelConfig
from berth.checkpoint.describe import Description, describe_hf
from berth.checkpoint.errors import CheckpointError, ConfigError
from berth.checkpoint.folder import describe, with_dtype
from berth.checkpoint.headers import LENGTH_BYTES, StoredTensor, header_length, parse_header
from berth.checkpoint.index import named_files
from berth.checkpoint.layout import folder_name, path_kind
from berth.checkpoint.numbers import ModelNumbers
from berth.checkpoint.stored import most_bytes
from berth.fit.published import measured_bytes
from berth.presets.catalogue import Preset, PresetError, find_preset, load_presets
from berth.protocol.engines import EngineKind

if TYPE_CHECKING:
    import httpx

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_FIRST_RANGE = 256 * 1024  # most headers are shorter: one request a file
_TIMEOUT = 20.0
_HUB = "https://huggingface.co"


class ModelError(Exception):
    """The model cannot be found or read; the message is a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What is known of a model before any of its weights are here."""

    name: str
    numbers: ModelNumbers
    stored_bytes: int | None = None  # of all tensors, as the files' headers say
    engine: EngineKind | Literal["none"]  # that `berth serve` takes for it
    description: Description | None = None  # None: it is the catalogue's, which says the engine
    notes: tuple[str, ...] = ()


def open_model(name: str, revision: str | None = None) -> Model:
    """Find what `name` means: an existing folder, a preset, a hub id.

    Raises:
        ModelError: none of them, or what it means cannot be read.
    """
    try:
        here = path_kind(Path(name))
    except ConfigError as error:
        raise ModelError(str(error)) from error
    if here is not None:  # of a file it says what it is no folder of
        return from_folder(Path(name))
    try:
        presets = load_presets()
    except PresetError as error:
        raise ModelError(str(error)) from error
    by_hub = {p.hub.lower(): p for p in presets.values() if p.hub}
    preset = presets.get(name.lower()) or by_hub.get(name.lower())
    if preset is not None and revision is None:
        return from_preset(preset)
    if _HUB_ID.fullmatch(name):
        return from_hub(name, revision)
    try:
        return from_preset(find_preset(name))
    except PresetError as error:
        raise ModelError(str(error)) from error


def from_preset(preset: Preset) -> Model:
    """A model of the catalogue; its folder's own headers if the catalogue has the weights."""
    if preset.weights is not None and preset.config is None:
        found = from_folder(preset.weights)
        return replace(found, name=preset.name)
    try:
        numbers = preset.numbers
    except ConfigError as error:
        raise ModelError(f"the config of preset {preset.name}: {error}") from error
    if numbers is None:
        raise ModelError(f"the size of preset {preset.name} is not known: {preset.unknown}")
    notes = () if preset.reason is None else (f"no engine of Berth runs it: {preset.reason}",)
    return Model(
        name=preset.name,
        numbers=numbers,
        stored_bytes=measured_bytes(numbers, preset.weight_files_gib),
        engine=cast(EngineKind, preset.engine),
        notes=notes,
    )


def from_folder(folder: Path) -> Model:
    """A folder with config.json (and safetensors files) or with Meta's params.json."""
    try:
        described = describe(folder)
    except CheckpointError as error:
        raise ModelError(str(error)) from error
    model = _model(folder_name(folder), described)
    _refuse_weights(folder, cast(EngineKind, model.engine), described.native)
    return model


def _refuse_weights(folder: Path, engine: EngineKind, config: ModelConfig | None) -> None:
    """Raises ModelError, in the words in which `berth serve` refuses the same folder."""
    from berth.cli.refused import refuse_weights
    from berth.images.weight_files import WeightsMissing

    try:
        refuse_weights(folder, engine, config)
    except (CheckpointError, WeightsMissing) as error:
        raise ModelError(str(error)) from error


def from_hub(hub_id: str, revision: str | None = None) -> Model:
    """A repository of the hub that the environment names (HF_ENDPOINT; HF_TOKEN if gated)."""
    import httpx

    with httpx.Client(headers=_token(), follow_redirects=True, timeout=_TIMEOUT) as client:
        repository = _Repository(client, hub_id, revision or "main")
        try:
            config = json.loads(repository.get("config.json"))
            names = repository.weight_files()
            headers = [repository.header(name) for name in names]
        except httpx.HTTPError as error:
            raise ModelError(
                f"{hub_id} cannot be read from the hub: {type(error).__name__}; a preset or a "
                "folder needs no network"
            ) from error
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{hub_id}: {error}") from error
    tensors = [tensor for header in headers for tensor in header]
    dtype = most_bytes((tensor.dtype, tensor.bytes) for tensor in tensors)
    try:
        described = describe_hf(
            with_dtype(config, dtype),
            stored_bytes=sum(tensor.bytes for tensor in tensors) if tensors else None,
            stored_dtype=dtype,
        )
    except CheckpointError as error:
        raise ModelError(f"{hub_id}: {error}") from error
    return _model(hub_id, described)


def _token() -> dict[str, str]:
    """The header that shows who asks: by HF_TOKEN, or as `hf auth login` kept it.

    The controller's image checks models before they are installed, and has no huggingface_hub.
    """
    try:
        from huggingface_hub import get_token

        token = get_token()
    except ModuleNotFoundError:
        token = os.environ.get("HF_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


class _Repository:
    """Files of one revision, read over HTTP."""

    def __init__(self, client: httpx.Client, hub_id: str, revision: str) -> None:
        self._client = client
        self._id = hub_id
        self._revision = revision

    def get(self, file: str) -> bytes:
        """A small file whole. Raises ModelError if it is not there or not ours to read."""
        content = self._fetch(file, None)
        if content is None:
            raise ModelError(f"{self._id} has no {file} on the hub (revision {self._revision})")
        return content

    def weight_files(self) -> list[str]:
        """Names of its safetensors files; none if it has only other formats."""
        index = self._fetch("model.safetensors.index.json", None)
        if index is not None:
            return sorted(set(named_files(json.loads(index)).values()))
        start = self._fetch("model.safetensors", range(LENGTH_BYTES))
        return [] if start is None else ["model.safetensors"]

    def header(self, file: str) -> list[StoredTensor]:
        """The tensors of one file."""
        start = self._fetch(file, range(_FIRST_RANGE)) or b""
        end = LENGTH_BYTES + header_length(start)
        if end > len(start):
            start += self._fetch(file, range(len(start), end)) or b""
        return parse_header(start[LENGTH_BYTES:end])

    def _fetch(self, file: str, part: range | None) -> bytes | None:
        """Bytes of a file, or of a range of it; None if there is no such file."""
        headers = {} if part is None else {"Range": f"bytes={part.start}-{part.stop - 1}"}
        endpoint = (os.environ.get("HF_ENDPOINT") or _HUB).rstrip("/")
        # Where every hub has the files of a repository.
        url = f"{endpoint}/{self._id}/resolve/{quote(self._revision, safe='')}/{quote(file)}"
        with self._client.stream("GET", url, headers=headers) as response:
            if response.status_code == 404:
                return None
            if response.status_code in (401, 403):
                raise ModelError(
                    f"the hub does not let us read {self._id}: it does not exist, or is gated; "
                    "accept its licence there and set HF_TOKEN"
                )
            response.raise_for_status()
            if part is None:
                return response.read()
            if response.status_code != 206 and part.start > 0:
                raise ModelError(f"the hub does not answer range requests for {self._id}")
            # A server that ignores the range sends everything: take what was asked and hang up.
            return _first(response.iter_bytes(), len(part))


def _first(chunks: Iterable[bytes], count: int) -> bytes:
    content = b""
    for chunk in chunks:
        content += chunk
        if len(content) >= count:
            break
    return content[:count]


def _model(name: str, described: Description) -> Model:
    """Raises ModelError if no engine runs it, or its sizes are not known."""
    try:
        choice = engine_for(described)
    except CheckpointError as error:
        raise ModelError(f"{name}: {error}") from error
    if described.numbers is None:
        raise ModelError(f"{name}: {described.unsized}")
    return Model(
        name=name,
        numbers=described.numbers,
        stored_bytes=described.stored_bytes,
        engine=choice.engine,
        description=described,
        notes=() if choice.why is None else (choice.why,),
    )
