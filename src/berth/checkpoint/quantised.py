"""Whether an engine of this installation reads a model's packed weights. No torch.

The native engine reads compressed-tensors' 8-bit weights (packed.py), which needs no package; this
is about the transformers engine. Of transformers 5.23's methods some need nothing more than
itself (it unpacks fp8 and mxfp4 to bfloat16 if there is no GPU for them); the others need packages
that no extra of Berth brings. Source: the `validate_environment` of quantizers/quantizer_*.py.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

from berth.checkpoint.packed import is_read_natively

# What `import` calls the package, and what pip does.
_PACKAGES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "gptq": (("optimum", "optimum"), ("gptqmodel", "gptqmodel")),
    "awq": (("gptqmodel", "gptqmodel"),),
    "bitsandbytes": (("bitsandbytes", "bitsandbytes"),),
    "bitsandbytes_4bit": (("bitsandbytes", "bitsandbytes"),),
    "bitsandbytes_8bit": (("bitsandbytes", "bitsandbytes"),),
    "compressed-tensors": (("compressed_tensors", "compressed-tensors"),),
    "hqq": (("hqq", "hqq"),),
    "torchao": (("torchao", "torchao"),),
    "quanto": (("optimum.quanto", "optimum-quanto"),),
    "aqlm": (("aqlm", "aqlm"),),
    "quark": (("quark", "amd-quark"),),
    "auto-round": (("auto_round", "auto-round"),),
    "vptq": (("vptq", "vptq"),),
    "spqr": (("spqr_quant", "spqr_quant"),),
    "eetq": (("kernels", "kernels"),),
    "fbgemm_fp8": (("kernels", "kernels"),),
    "fp_quant": (("fp_quant", "fp_quant"),),
    "higgs": (("flute", "flute-kernel"),),
    "sinq": (("sinq", "sinq"),),
}
_ALONE = frozenset({"fp8", "mxfp8", "mxfp4", "nvfp4", "bitnet", "metal", "gemma", "fouroversix"})


def method_of(config: Mapping[str, Any]) -> str | None:
    """How a config.json says that the weights are packed; None if it does not.

    "" if it says that they are and not how.
    """
    described = config.get("quantization_config") or config.get("compression_config")
    text = config.get("text_config")
    if described is None and isinstance(text, dict):
        described = text.get("quantization_config")
    if described is None:
        return None
    if not isinstance(described, dict):
        return ""
    method = described.get("quant_method")
    if method is None and (described.get("load_in_4bit") or described.get("load_in_8bit")):
        return "bitsandbytes"  # as transformers takes it
    return str(method).lower() if method else ""


def complaint(
    config: Mapping[str, Any], installed: Callable[[str], bool] | None = None
) -> str | None:
    """`complaint_of` what a config.json says; None too for what the native engine unpacks."""
    if is_read_natively(config):
        return None
    return complaint_of(method_of(config), installed or is_installed)


def complaint_of(method: str | None, installed: Callable[[str], bool]) -> str | None:
    """Why no engine here reads the packed weights, as a sentence that begins behind the folder's
    name; None if they are not packed, or one reads them.

    Args:
        method: as `method_of` gives it.
        installed: whether a package can be imported.
    """
    if method is None or method in _ALONE:
        return None
    if not method:
        return (
            "is quantised, and config.json does not say how (quantization_config.quant_method); "
            f"{_WAY_OUT}"
        )
    packages = _PACKAGES.get(method)
    if packages is None:
        return f"is quantised with {method}, which no engine of Berth reads; {_WAY_OUT}"
    missing = [name for module, name in packages if not installed(module)]
    if not missing:
        return None
    return (
        f"is quantised with {method}, and what reads that is not installed: pip install "
        f"{' '.join(missing)} (no extra of Berth brings {' and '.join(missing)}); or {_WAY_OUT}"
    )


def is_installed(module: str) -> bool:
    """Whether it can be imported here."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package that it is a part of
        return False


_WAY_OUT = (
    "serve the unquantised model that it was made from, which --load-in-4bit packs while it loads "
    "on an NVIDIA GPU"
)
