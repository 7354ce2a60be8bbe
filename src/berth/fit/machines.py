"""Machines: GPU products with the memory that they report, clouds' instance types, own hardware.

A brochure's 24 GB are 24 * 10^9 bytes for one product and 24 * 2^30 for the next; ECC, the driver
and a vGPU's reserve come off. What counts is what the device reports to a process, kept in
data/gpus.csv with its source. If no report is known, the row says so and gives an interval.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from berth.fit.table import load_table
from berth.fit.units import GIB, MIB, human

Cloud = Literal["azure", "aws", "gcp"]

# GPU Feature Discovery's suffixes of a product that several pods share, or of a MIG slice's card.
_SHARED_SUFFIX = "-SHARED"
# Words before a product's own name that people leave out.
_MAKERS = frozenset({"nvidia", "tesla", "geforce", "quadro", "rtx", "gtx", "amd", "instinct",
                     "radeon", "rx", "pro"})  # fmt: skip
_NEAR = 0.75  # how like a known name a wrong one must be to be taken for it
# cudaMemGetInfo's total over the label's, of the products in gpus.csv: 0.970 (T4) to 1.0 (K80).
_LEAST_OF_LABEL, _LIKELY_OF_LABEL = 0.970, 0.980
# Of a CPU node's RAM: the kernel's own share is never reported; nothing else is known.
_RAM_SHARE = 0.98


class UnknownMachine(ValueError):
    """No such instance type or GPU product; the message names the nearest known ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One GPU, or the RAM of a CPU node. Sizes in bytes."""

    product: str
    kind: Literal["gpu", "cpu"]
    total: int  # as the device reports it to a process
    reserved: int = 0  # of that, what no process ever gets
    low: int  # the least and the most total to expect
    high: int
    known: bool  # reported by such a device; False: estimated
    compute_capability: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One node: `count` devices alike. A CPU node is one device, its RAM."""

    name: str  # what a message calls it
    device: Device
    count: int
    cloud: Cloud | None = None
    host_memory: int | None = None  # RAM; None: not known
    shm: int | None = None  # size of /dev/shm
    disk: int | None = None  # free for weights and images


def gpu(product: str) -> Device:
    """The product called so by nvidia.com/gpu.product, or as people call it.

    "L4" finds NVIDIA-L4, "RTX 4090" and "4090" NVIDIA-GeForce-RTX-4090. Raises UnknownMachine:
    no such product, or several ("A100").
    """
    key = _plain(product.strip().lower().removesuffix(_SHARED_SUFFIX.lower()))
    names = _names()
    found = names.get(key, ())
    if not found and len(key) > 1:
        begun = {
            device.product: device
            for name, devices in names.items()
            if name.startswith(key)
            for device in devices
        }
        found = tuple(begun.values())
    if len({(device.total, device.compute_capability) for device in found}) == 1:
        return found[0]
    if found:
        several = ", ".join(sorted(device.product for device in found))
        raise UnknownMachine(
            f"GPU product {product!r} may be one of several; name one of {several}"
        )
    near = difflib.get_close_matches(key, names, n=3, cutoff=_NEAR)
    guesses = dict.fromkeys(device.product for name in near for device in names[name])
    nearest = f"; nearest: {', '.join(guesses)}" if guesses else ""
    raise UnknownMachine(f"GPU product {product!r} is not known{nearest}")


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


@cache
def _names() -> dict[str, tuple[Device, ...]]:
    """Every name that people give to products: whole, without the maker, without the series."""
    names: dict[str, dict[str, Device]] = {}
    for device in _products().values():
        words = device.product.lower().split("-")
        while words:
            names.setdefault(_plain("".join(words)), {})[device.product] = device
            if words[0] not in _MAKERS:
                break
            words = words[1:]
    return {name: tuple(devices.values()) for name, devices in names.items()}


def gpu_by_label(product: str, memory_mib: int) -> Device:
    """The device of a node's labels: the known one, else an estimate from nvidia.com/gpu.memory.

    If a known product's label says something else (a MIG slice, a vGPU), the label counts.
    """
    label = memory_mib * MIB
    try:
        device = gpu(product)
    except UnknownMachine:
        device = None
    if device is not None and abs(_labels()[device.product] - memory_mib) <= 0.01 * memory_mib:
        return device
    return Device(
        product=product,
        kind="gpu",
        total=int(label * _LIKELY_OF_LABEL),
        low=int(label * _LEAST_OF_LABEL),
        high=label,
        known=False,
        compute_capability=device.compute_capability if device else None,
    )


def label_memory(product: str) -> int:
    """What nvidia.com/gpu.memory says of this product, in MiB. Raises UnknownMachine."""
    return _labels()[gpu(product).product]


def measured_gpu(product: str, total: int) -> Device:
    """A device that is at hand and says itself how many bytes it has."""
    return Device(product=product, kind="gpu", total=total, low=total, high=total, known=True)


def ram(total: int, *, nominal: bool = False) -> Device:
    """A CPU node's memory. `nominal`: a size table's number, of which the kernel keeps a little."""
    usable = int(total * _RAM_SHARE) if nominal else total
    return Device(
        product="CPU", kind="cpu", total=usable, low=usable, high=total, known=not nominal
    )


def own_gpus(product: str, count: int) -> Machine:
    """Own hardware: so many GPUs of one product in one node."""
    if count < 1:
        raise UnknownMachine(f"count of GPUs is {count}; it should be at least 1")
    device = gpu(product)
    return Machine(name=f"{count} x {device.product}", device=device, count=count)


def gpus_of_memory(memory: int, count: int, product: str | None = None) -> Machine:
    """GPUs that are known by their memory: `memory` bytes each, as nvidia-smi calls the total.

    `product` names the card that has so much, if it is known. Raises UnknownMachine.
    """
    if count < 1:
        raise UnknownMachine(f"count of GPUs is {count}; it should be at least 1")
    device = gpu_by_label(product or f"GPU of {human(memory)}", memory // MIB)
    return Machine(name=f"{count} x {device.product}", device=device, count=count)


def cpu_node(memory: int, name: str = "CPU node") -> Machine:
    """A node without GPUs: `memory` bytes of RAM."""
    return Machine(name=name, device=ram(memory), count=1, host_memory=memory)


def sku(name: str) -> Machine:
    """A cloud's instance type, without regard to case. Raises UnknownMachine."""
    key = name.strip().lower()
    skus = _skus()
    if key in skus:
        return skus[key]
    near = difflib.get_close_matches(key, skus, n=3, cutoff=_NEAR)
    nearest = f"; nearest: {', '.join(skus[name].name for name in near)}" if near else ""
    raise UnknownMachine(f"instance type {name!r} is not known{nearest}")


def all_skus(cloud: Cloud | None = None) -> list[Machine]:
    """Every instance type (of one cloud), the smallest device memory first.

    We keep no prices, which change by the week and the contract: total device memory, then the
    number of GPUs, then RAM is the order in which "smaller" and "cheaper" are understood.
    """
    found = [m for m in _skus().values() if cloud is None or m.cloud == cloud]
    return sorted(found, key=_size)


def _size(machine: Machine) -> tuple[bool, int, int, int]:
    return (
        machine.device.kind == "cpu",
        machine.count * machine.device.total,
        machine.count,
        machine.host_memory or 0,
    )


@cache
def _rows() -> list[dict[str, str]]:
    return load_table("gpus")


@cache
def _labels() -> dict[str, int]:
    return {row["product"]: int(row["label_mib"]) for row in _rows()}


@cache
def _products() -> dict[str, Device]:
    return {row["product"].lower(): _device(row) for row in _rows()}


def _device(row: dict[str, str]) -> Device:
    major, _, minor = row["compute_capability"].partition(".")
    return Device(
        product=row["product"],
        kind="gpu",
        total=int(row["total_mib"]) * MIB,
        reserved=int(row["reserved_mib"]) * MIB,
        low=int(row["low_mib"]) * MIB,
        high=int(row["high_mib"]) * MIB,
        known=row["known"] == "yes",
        compute_capability=(int(major), int(minor)) if major else None,
    )


@cache
def _skus() -> dict[str, Machine]:
    return {row["sku"].lower(): _machine(row) for row in load_table("skus")}


def _machine(row: dict[str, str]) -> Machine:
    memory = int(row["host_memory_gib"]) * GIB
    count = int(row["gpu_count"])
    cloud: Cloud = row["cloud"]  # type: ignore[assignment]  # the schema's enum
    return Machine(
        name=row["sku"],
        device=gpu(row["gpu_product"]) if count else ram(memory, nominal=True),
        count=count or 1,
        cloud=cloud,
        host_memory=memory,
    )
