"""Writing weight files tensor by tensor, so that memory holds one of them at a time."""

from __future__ import annotations

import json
import mmap
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from berth.models.weights.files import drop_pages

_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
_CRC_CHUNK = 1 << 24  # bytes


@dataclass(frozen=True, slots=True)
class Planned:
    """A tensor to be written: shape and dtype now, its values when its turn comes."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    values: Callable[[], torch.Tensor]
    done: Callable[[], None]  # called once they are written

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


def write_safetensors(path: Path, tensors: Mapping[str, Planned]) -> None:
    """One .safetensors file, in the order of `tensors`."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, planned in tensors.items():
        header[name] = {
            "dtype": _NAMES[planned.dtype],
            "shape": list(planned.shape),
            "data_offsets": [offset, offset + planned.nbytes],
        }
        offset += planned.nbytes
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)  # the tensors' bytes stay aligned
    with path.open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        for planned in tensors.values():
            values = planned.values().contiguous()
            file.write(values.view(-1).view(torch.uint8).numpy().data)
            planned.done()


def write_safetensors_folder(
    folder: Path, tensors: Mapping[str, Planned], max_file_bytes: int
) -> None:
    """model.safetensors, or numbered files and their index if one would be too large."""
    groups: list[dict[str, Planned]] = [{}]
    filled = 0
    for name, planned in tensors.items():
        if groups[-1] and filled + planned.nbytes > max_file_bytes:
            groups.append({})
            filled = 0
        groups[-1][name] = planned
        filled += planned.nbytes
    if len(groups) == 1:
        write_safetensors(folder / "model.safetensors", groups[0])
        return
    where: dict[str, str] = {}
    for number, group in enumerate(groups, 1):
        file = f"model-{number:05d}-of-{len(groups):05d}.safetensors"
        write_safetensors(folder / file, group)
        where |= dict.fromkeys(group, file)
    total = sum(planned.nbytes for planned in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def write_pth(path: Path, tensors: Mapping[str, Planned]) -> None:
    """One file as torch.save would write it of the whole dictionary at once."""
    # torch lays the archive out without the values; then they are put in through a mapping.
    with FakeTensorMode():
        empty = {name: torch.empty(p.shape, dtype=p.dtype) for name, p in tensors.items()}
    with torch.serialization.skip_data(materialize_fake_tensors=True):
        torch.save(empty, path)
    with torch.serialization.set_default_mmap_options(mmap.MAP_SHARED):
        mapped = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    for name, planned in tensors.items():
        mapped[name].copy_(planned.values())
        planned.done()
        drop_pages(mapped[name])  # shared: the kernel keeps and writes what is dirty
    del mapped
    _mend_checksums(path)


def _mend_checksums(path: Path) -> None:
    """Write the CRCs of the values, which torch could not know, at their places in the archive.

    torch does not look at them; other readers of zip archives do.
    """
    with zipfile.ZipFile(path) as archive:
        records, directory = archive.infolist(), archive.start_dir
    with path.open("r+b") as file:
        for record in records:
            file.seek(record.header_offset)
            header = file.read(30)
            name, extra = struct.unpack_from("<HH", header, 26)
            file.seek(name + extra, 1)
            crc, left = 0, record.file_size
            while left and (chunk := file.read(min(_CRC_CHUNK, left))):
                crc, left = zlib.crc32(chunk, crc), left - len(chunk)
            packed = struct.pack("<I", crc)
            descriptor = file.tell()
            if file.read(4) == b"PK\x07\x08":
                file.seek(descriptor + 4)
                file.write(packed)
            if struct.unpack_from("<I", header, 14)[0]:
                file.seek(record.header_offset + 14)
                file.write(packed)
            file.seek(directory)
            entry = file.read(46)
            file.seek(directory + 16)
            file.write(packed)
            directory += 46 + sum(struct.unpack_from("<HHH", entry, 28))
