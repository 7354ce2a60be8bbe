"""From a folder to a model in memory: safetensors only, and no code of the folder's unasked."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers.utils import import_utils
from transformers.utils import logging as transformers_logging

from berth.checkpoint.config import ModelConfig
from berth.checkpoint.errors import ConfigError
from berth.checkpoint.fields import read_json
from berth.checkpoint.folder import load_hf_config
from berth.checkpoint.index import INDEX, SINGLE
from berth.checkpoint.layout import folder_layout, folder_name
from berth.engines.host.device import choose_device, choose_dtype
from berth.fit.request import default_fraction
from berth.models.weights.binding import complaint, is_harmless, renames, unwrapped
from berth.models.weights.files import TensorFile, is_zero_bias
from berth.models.weights.folder import open_weight_files
from berth.models.weights.source import WeightError
from berth.models.weights.verify import verification
from berth.protocol.config import EngineConfig

# Where configurations keep how many tokens of context the model was trained for.
_POSITION_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "max_sequence_length",
    "seq_length",
    "n_ctx",
)
_POSITIONS = 2048  # of models that name no number: ALiBi, recurrent ones

# Towers and heads beside the text model, which text alone does not pass through.
_BESIDE = re.compile(r"vision|visual|image|audio|speech|multi_?modal|mm_projector|nextn|eagle")

Progress = Callable[[int, int], None]  # (bytes so far, bytes in all)


def load_model(
    config: EngineConfig, progress: Progress, beat: Callable[[], None] | None = None
) -> Any:
    """The PreTrainedModel of `config.model`, in evaluation mode, its generation defaults cleared.

    Args:
        beat: called from other threads for each part of a file whose checksum was taken.

    Raises:
        WeightError: a file is missing, torn or damaged.
        ValueError: the folder holds no safetensors, needs code that the owner does not trust, or
            asks for what this machine cannot do; says which.
        OSError: a file is missing, as transformers says it.
    """
    folder = Path(config.model)
    if folder_layout(folder) != "hf":
        raise ValueError(
            f"{folder_name(folder)} is in Meta's layout; the transformers engine reads Hugging "
            "Face's. Use --engine native, or make a folder with berth convert"
        )
    device = choose_device(config.device)
    described = _describe(folder, trust=config.trust_remote_code)
    stored = str(getattr(described, "dtype", None) or "float32").removeprefix("torch.")
    settings: dict[str, Any] = {
        "config": described,
        "dtype": choose_dtype(config.dtype, stored, device),
        "use_safetensors": True,
        "local_files_only": True,
        "trust_remote_code": config.trust_remote_code,
        "quantization_config": _quantisation(config, device),
    }
    if device.type == "cuda":
        settings |= {
            "device_map": config.device_map,
            "max_memory": _gpu_memory(
                config.memory_fraction or default_fraction("transformers", "gpu")
            ),
        }
    given = {k: value for k, value in settings.items() if value is not None}
    files = open_weight_files(folder)
    where = {name: file.path.name for file in files for name in file.entries}
    if mapping := renames(where, _known(folder)):
        given["key_mapping"] = mapping
    total = sum(file.path.stat().st_size for file in files)

    with verification(folder, files, config.verify, beat) as verifying:
        with _Watched(total, progress):
            model = _read(folder, files, given)
        verifying.finish()
    for file in files:
        file.close()
    # A folder's own defaults (temperature, penalties) must not reach into requests, which name all
    # that they want.
    no_defaults: Callable[[], object] = transformers.GenerationConfig
    model.generation_config = no_defaults()
    return model.eval()


def _known(folder: Path) -> ModelConfig | None:
    """The model, if the native engine knows it too."""
    try:
        return load_hf_config(folder)
    except ConfigError:
        return None


def _read(folder: Path, files: Sequence[TensorFile], settings: dict[str, Any]) -> Any:
    with _indexed(folder, files) as readable:
        try:
            loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
                readable,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # so that they are returned, not only logged
                **settings,
            )
        except SafetensorError as error:
            raise ValueError(
                f"{folder_name(folder)} has a broken safetensors file: {error}"
            ) from error
    model, report = loaded
    _refuse_gaps(folder, report)
    if getattr(settings["config"], "quantization_config", None) is None:  # scales of many names
        _refuse_unused(files, report)
    return model


@contextmanager
def _indexed(folder: Path, files: Sequence[TensorFile]) -> Iterator[Path]:
    """The folder, with an index if its files need one: transformers reads several files by it
    alone, and asks for a metadata object in it. The index is written beside links to the folder's
    content, for as long as it is read."""
    own = folder / INDEX
    if (folder / SINGLE).exists() or (own.exists() and "metadata" in read_json(own)):
        yield folder
        return
    with TemporaryDirectory(prefix="berth-index-") as name:
        beside = Path(name)
        for path in folder.iterdir():
            if path.name != INDEX:
                (beside / path.name).symlink_to(path.absolute())
        where = {
            tensor: str(file.path.relative_to(folder)) for file in files for tensor in file.entries
        }
        (beside / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))
        yield beside


def _refuse_unused(files: Sequence[TensorFile], report: dict[str, Any]) -> None:
    """What transformers leaves out of the model with no more than a warning, and would change it.

    Not reported are what the model's class knows that it does not use.
    """
    left_out = {unwrapped(str(name)) for name in report.get("unexpected_keys", ())}
    for file in files:
        for name in file.entries:
            if unwrapped(name) not in left_out or is_harmless(name) or _BESIDE.search(name):
                continue
            if not is_zero_bias(file, name):
                raise WeightError(name, file.path.name, complaint(name))


def _refuse_gaps(folder: Path, report: dict[str, Any]) -> None:
    """transformers fills what is missing or has another shape with random numbers; we do not."""
    for key, what in (("missing_keys", "lacks"), ("mismatched_keys", "has in another shape")):
        names = sorted(str(n[0] if isinstance(n, tuple) else n) for n in report.get(key, ()))
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise ValueError(
                f"{folder_name(folder)} {what} {', '.join(names[:3])}{more}; its config.json asks "
                "for it"
            )
    if report.get("error_msgs"):
        raise ValueError(f"{folder_name(folder)}: {report['error_msgs'][0]}")


def positions_of(described: Any, wanted: int | None) -> int:
    """Tokens of prompt and output together: as trained, or as wanted if that is less."""
    text = described.get_text_config(decoder=True)
    for key in _POSITION_KEYS:
        number = getattr(text, key, None)
        if isinstance(number, int) and number > 0:
            return min(wanted or number, number)
    return wanted or _POSITIONS


def _describe(folder: Path, *, trust: bool) -> Any:
    """The folder's configuration. Raises ValueError if only the folder's own code could read it."""
    raw, _ = transformers.PretrainedConfig.get_config_dict(folder, local_files_only=True)
    kind = raw.get("model_type")
    known = kind in transformers.models.auto.configuration_auto.CONFIG_MAPPING
    if not known and not trust:
        if "auto_map" in raw:
            raise ValueError(
                f"{folder_name(folder)} (model_type {kind!r}) brings its own Python code, which "
                "would run "
                "on this machine; read it, and start with --trust-remote-code if you trust it"
            )
        raise ValueError(
            f"{folder_name(folder)}: model_type is {kind!r}, which transformers "
            f"{transformers.__version__} does not know"
        )
    described = transformers.AutoConfig.from_pretrained(
        folder, local_files_only=True, trust_remote_code=trust
    )
    if getattr(described, "is_encoder_decoder", False):
        raise ValueError(
            f"{folder_name(folder)} ({kind}) is an encoder with a decoder; "
            "this engine runs causal language models"
        )
    _fill_head_dim(described.get_text_config(decoder=True))
    return described


def _fill_head_dim(text: Any) -> None:
    """`"head_dim": null` means "as the other sizes give it", which not all classes understand.

    Qwen2's of transformers 5.23 ends in a TypeError: it takes the attribute whenever there is one.
    """
    values = text.to_dict()  # if it differs by layer, the attribute itself must not be read
    heads, hidden = values.get("num_attention_heads"), values.get("hidden_size")
    if values.get("head_dim", 0) is None and heads and hidden and hidden % heads == 0:
        text.head_dim = hidden // heads


def _quantisation(config: EngineConfig, device: torch.device) -> object | None:
    if not (config.load_in_8bit or config.load_in_4bit):
        return None
    flag = "load_in_8bit" if config.load_in_8bit else "load_in_4bit"
    if config.load_in_8bit and config.load_in_4bit:
        raise ValueError("load_in_8bit and load_in_4bit exclude each other")
    if device.type != "cuda" or torch.version.cuda is None:
        raise ValueError(
            f"{flag} needs an NVIDIA GPU, and this engine runs on {device.type}; "
            "leave it out, or serve on a machine with such a GPU"
        )
    if not import_utils.is_bitsandbytes_available():
        raise ValueError(f"{flag} needs the package bitsandbytes; pip install bitsandbytes")
    quantised: Callable[..., object] = transformers.BitsAndBytesConfig
    return quantised(
        load_in_8bit=config.load_in_8bit,
        load_in_4bit=config.load_in_4bit,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def _gpu_memory(fraction: float) -> dict[int, int]:
    """Bytes that weights may take on each GPU; the cache gets what is left of the fraction."""
    free = {n: torch.cuda.mem_get_info(n)[0] for n in range(torch.cuda.device_count())}
    return {number: int(count * fraction) for number, count in free.items()}


class _Watched:
    """Reports how far from_pretrained is, by its own progress bar, which is not shown."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._total = total
        self._progress = progress

    def __enter__(self) -> None:
        self._progress(0, self._total)
        self._previous = transformers_logging.set_tqdm_hook(self._bar)

    def __exit__(self, *error: object) -> None:
        transformers_logging.set_tqdm_hook(self._previous)

    def _bar(self, factory: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Bar:
        items: Any = args[0] if args else kwargs.get("iterable")
        count = kwargs.get("total") or (len(items) if hasattr(items, "__len__") else 0)
        advance = functools.partial(self._advance, count)
        return _Bar(items or (), advance if "weights" in str(kwargs.get("desc")) else None)

    def _advance(self, count: int, done: int) -> None:
        self._progress(self._total * done // max(count, 1), self._total)


class _Bar:
    """What transformers uses of a tqdm bar."""

    def __init__(self, items: Iterable[Any], advance: Callable[[int], None] | None) -> None:
        self._items = items
        self._advance = advance
        self._done = 0

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            yield item
            self.update()

    def update(self, count: int = 1) -> None:
        self._done += count
        if self._advance is not None:
            self._advance(self._done)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None  # set_postfix, close, refresh …: nothing is shown
