"""Every preset of the catalogue can be asked about, and every parameter is weighed."""

from __future__ import annotations

import pytest

from berth.checkpoint.numbers import parameter_count
from berth.cli.model_source import ModelError, from_preset
from berth.fit import FitInputError, FitRequest, fit, own_gpus, sku
from berth.fit.engines import EngineName
from berth.fit.published import published_bytes
from berth.presets.catalogue import Preset, load_presets

PRESETS = list(load_presets().values())
SIZED = [p for p in PRESETS if p.config is not None or p.weights is not None]


def ask(preset: Preset, where: str) -> FitRequest:
    found = from_preset(preset)
    return FitRequest(
        model=found.numbers,
        name=found.name,
        machine=sku(where),
        engine="vllm" if found.engine == "none" else found.engine,
        stored_bytes=found.stored_bytes,
    )


@pytest.mark.parametrize("preset", SIZED, ids=lambda p: p.name)
def test_every_preset_gets_an_answer_with_terms(preset: Preset) -> None:
    for where in ("p5en.48xlarge", "g6.xlarge"):
        verdict = fit(ask(preset, where))
        if verdict.layout is None:
            assert verdict.conflicts
            continue
        assert verdict.worst is not None
        assert verdict.worst.of("weights") > 0
        assert verdict.worst.of("runtime overhead") > 0


@pytest.mark.parametrize("preset", SIZED, ids=lambda p: p.name)
def test_weights_are_every_parameter_in_the_checkpoints_format(preset: Preset) -> None:
    found = from_preset(preset)
    numbers = found.numbers
    stored = published_bytes(numbers)
    if stored is None:
        assert numbers.missing or found.stored_bytes is not None
        pytest.skip("not wholly known from its config")
    assert found.stored_bytes is None or preset.weights is not None
    engine: EngineName = "vllm" if found.engine == "none" else found.engine
    if engine == "vllm" and numbers.vocab % 64:
        pytest.skip("vllm pads its vocabulary")
    asked = FitRequest(
        model=numbers,
        machine=own_gpus("H200", 1),
        engine=engine,
        tensor=1,
        pipeline=1,
        stored_bytes=found.stored_bytes,
    )
    verdict = fit(asked)
    assert verdict.worst is not None
    assert verdict.worst.of("weights") == stored
    if not numbers.quantization:
        each = 4 if numbers.dtype == "float32" else 2
        assert stored == parameter_count(numbers) * each


@pytest.mark.parametrize(
    "preset", [p for p in PRESETS if p.config is None and p.weights is None], ids=lambda p: p.name
)
def test_a_preset_of_unknown_size_is_no_pass(preset: Preset) -> None:
    with pytest.raises(ModelError, match="is not known"):
        from_preset(preset)


def test_an_engine_that_does_not_run_the_model_is_refused() -> None:
    other = next(p for p in SIZED if p.architecture.startswith("Gemma"))
    found = from_preset(other)
    with pytest.raises(FitInputError, match="the native engine does not run Gemma"):
        FitRequest(model=found.numbers, machine=sku("g6.xlarge"), engine="native")
