"""One flipped bit of a weight file is refused by a tensor's name, or shown to change no tensor."""

from __future__ import annotations

import hashlib
import json
import random
import struct
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from berth.models.weights import verify
from berth.models.weights.checksums import crc32_of, digest_of
from berth.models.weights.digests import NAME, known_digests, write_digests
from berth.models.weights.folder import open_weights
from berth.models.weights.names import tensor_shapes
from berth.models.weights.pth_zip import Damaged, read_records
from berth.models.weights.source import WeightError
from berth.models.weights.verify import Check, Verification, checks_for, share_of
from berth.protocol.config import Verify
from models.checkpoints import tiny_config, write_hf, write_meta

SMALL = {"num_layers": 1, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4}
WQ = "layers.0.attention.wq.weight"


def load(folder: Path, mode: Verify = "auto") -> dict[str, torch.Tensor]:
    """Every tensor, as an engine reads and verifies it. Raises what is wrong."""
    with closing(open_weights(folder)) as source:
        shapes = tensor_shapes(source.config)
        source.check(shapes)
        with Verification(checks_for(folder, source.files, mode), threads=1) as verifying:
            found = {name: source.read(name).clone() for name in shapes}
            verifying.finish()
        return found


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(
        torch.equal(ours[name].view(torch.uint8), theirs[name].view(torch.uint8)) for name in ours
    )


class Patient:
    """A file that is damaged and mended again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.whole = path.read_bytes()

    def flipped(self, position: int, bit: int) -> None:
        with self.path.open("r+b") as file:
            file.seek(position)
            file.write(bytes([self.whole[position] ^ (1 << bit)]))

    def mend(self, position: int = 0) -> None:
        with self.path.open("r+b") as file:
            file.seek(position)
            file.write(self.whole[position : position + 1])


def trial(folder: Path, patient: Patient, want: dict[str, torch.Tensor], at: int, bit: int) -> str:
    """What comes of one flipped bit: the tensor that is named, or empty where it is harmless."""
    patient.flipped(at, bit)
    refused: WeightError | None = None
    try:
        found = load(folder)
    except WeightError as error:
        refused = error
    patient.mend(at)
    if refused is not None:
        assert refused.file == patient.path.name
        return refused.tensor
    assert same(found, want), f"bit {bit} of byte {at} changed a tensor unseen"
    return ""


@pytest.fixture
def meta(tmp_path: Path) -> Path:
    write_meta(tmp_path, tiny_config(**SMALL))
    return tmp_path


def test_a_flipped_bit_in_any_tensor_of_a_pth_is_refused_by_its_name(meta: Path) -> None:
    patient = Patient(meta / "consolidated.00.pth")
    want = load(meta)
    draw = random.Random(1)
    with closing(open_weights(meta)) as source:
        stored = source.files[0].stored
    assert len(stored) == 13
    for tensor in stored:
        for _ in range(4):
            at = tensor.start + draw.randrange(tensor.size)
            assert trial(meta, patient, want, at, draw.randrange(8)) == tensor.tensor
    assert same(load(meta, "full"), want)


def test_a_flipped_bit_anywhere_else_in_a_pth_is_refused_or_changes_nothing(meta: Path) -> None:
    """Pickle, headers, padding, directory: every byte that is no tensor's, one bit of each."""
    patient = Patient(meta / "consolidated.00.pth")
    want = load(meta)
    draw = random.Random(2)
    with closing(open_weights(meta)) as source:
        inside = {at for s in source.files[0].stored for at in range(s.start, s.start + s.size)}
    outside = sorted(set(range(len(patient.whole))) - inside)
    named = [trial(meta, patient, want, at, draw.randrange(8)) for at in outside[::2]]
    assert sum(map(bool, named)) > len(named) / 4  # the rest is padding, times and attributes


def test_a_hole_in_a_tensor_and_records_that_changed_places_are_refused(meta: Path) -> None:
    patient = Patient(meta / "consolidated.00.pth")
    with closing(open_weights(meta)) as source:
        stored = {s.tensor: s for s in source.files[0].stored}
    query, out = stored[WQ], stored["layers.0.attention.wo.weight"]
    whole = bytearray(patient.whole)
    whole[query.start : query.start + query.size] = bytes(query.size)
    patient.path.write_bytes(whole)
    with pytest.raises(WeightError, match=r"wq\.weight in .*: its bytes are damaged: CRC-32"):
        load(meta)
    whole = bytearray(patient.whole)
    assert query.size == out.size
    for here, there in ((query, out), (out, query)):
        whole[here.start : here.start + here.size] = patient.whole[
            there.start : there.start + there.size
        ]
    patient.path.write_bytes(whole)
    with pytest.raises(WeightError, match=r"attention\.w[qo]\.weight in .*: its bytes are damaged"):
        load(meta)


def test_directory_entries_that_changed_places_are_refused(meta: Path) -> None:
    """Each entry points to a record with the CRC that it promises, of another name."""
    path = meta / "consolidated.00.pth"
    whole = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        names = [i.filename for i in archive.infolist()]
        at = archive.start_dir
    entries: dict[str, int] = {}
    for name in names:
        entries[name.rpartition("/data/")[2]] = at
        at += 46 + sum(struct.unpack_from("<HHH", whole, at + 28))
    first, second = entries["3"], entries["6"]  # two matrices of one shape
    ours, theirs = whole[first + 42 : first + 46], whole[second + 42 : second + 46]
    whole[first + 42 : first + 46], whole[second + 42 : second + 46] = theirs, ours
    path.write_bytes(whole)
    with pytest.raises(WeightError, match="do not agree; the file is damaged"):
        load(meta)


def test_a_pth_without_checksums_is_read_and_said_to_have_none(
    meta: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = meta / "consolidated.00.pth"
    state = torch.load(path, weights_only=True)
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state, path)
    finally:
        torch.serialization.set_crc32_options(True)
    caplog.set_level("INFO")
    assert load(meta)
    assert "no digest is known of consolidated.00.pth" in caplog.text
    with pytest.raises(WeightError, match="--verify=full wants one"):
        load(meta, "full")
    value = digest_of(path, "md5")
    (meta / "checklist.chk").write_text(f"{value}  consolidated.00.pth\n{value}  absent.pth\n")
    assert load(meta, "full")
    Patient(path).flipped(read_records(path)["data/2"].start, 3)
    with pytest.raises(WeightError, match=r"00\.pth: it is damaged: MD5 .*, and checklist\.chk"):
        load(meta)


def test_an_archive_beyond_4_gib_is_read(tmp_path: Path) -> None:
    """By its directory alone: the file is sparse."""
    path = tmp_path / "large.pth"
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        state = {"a": torch.empty(5 << 30, dtype=torch.uint8), "b": torch.empty(3)}
    with torch.serialization.skip_data(materialize_fake_tensors=True):
        torch.save(state, path)
    records = read_records(path)
    assert records["data/0"].size == 5 << 30
    assert records["data/1"].start > 5 << 30


def test_any_archive_that_python_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("x/data.pkl", "x/data/0"):
            with archive.open(name, "w", force_zip64=True) as record:
                record.write(name.encode())
    assert {name: r.size for name, r in read_records(path).items()} == {"data.pkl": 10, "data/0": 8}
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data/1", b"1" * 99)
    with pytest.raises(Damaged, match="compressed"):
        read_records(path)


@pytest.fixture
def hf(tmp_path: Path) -> Path:
    write_hf(tmp_path, tiny_config(**SMALL), files=2)
    return tmp_path


def weight_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.safetensors"))


def test_with_berths_digests_a_flipped_bit_in_any_tensor_is_refused_by_its_name(hf: Path) -> None:
    names = weight_files(hf)
    write_digests(hf, [*names, "config.json"])
    want = load(hf, "full")
    draw = random.Random(3)
    for name in names:
        patient = Patient(hf / name)
        with closing(open_weights(hf)) as source:
            file = next(f for f in source.files if f.path.name == name)
        for tensor in file.stored:
            for _ in range(3):
                at = tensor.start + draw.randrange(tensor.size)
                assert trial(hf, patient, want, at, draw.randrange(8)) == tensor.tensor
        length = file.stored[0].start
        for at in range(0, length, 3):  # nothing of the header is harmless: its CRC is known
            patient.flipped(at, draw.randrange(8))
            with pytest.raises(WeightError):
                load(hf)
            patient.mend(at)


def test_without_a_digest_a_damaged_safetensors_header_is_refused_or_changes_nothing(
    hf: Path,
) -> None:
    want = load(hf)
    draw = random.Random(4)
    patient = Patient(hf / weight_files(hf)[0])
    length = 8 + int.from_bytes(patient.whole[:8], "little")
    for at in [*range(8), *range(8, length, 2)]:
        patient.flipped(at, draw.randrange(8))
        try:
            found = load(hf)
        except WeightError:
            continue
        finally:
            patient.mend(at)
        assert same(found, want)


def test_a_header_that_leaves_padding_out_does_not_move_the_tensors(tmp_path: Path) -> None:
    """Its length names fewer spaces than there are: it is valid JSON, four bytes too short."""
    write_hf(tmp_path, tiny_config(**SMALL))
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    padded = whole[8 : 8 + length] + b" " * 8
    path.write_bytes((length + 4).to_bytes(8, "little") + padded + whole[8 + length :])
    with pytest.raises(WeightError, match="goes on for 4 bytes behind it: it is damaged"):
        load(tmp_path)


def test_other_files_that_the_digests_list_are_held_to_them(hf: Path) -> None:
    (hf / "tokenizer.json").write_text("{}")
    write_digests(hf, [*weight_files(hf), "config.json", "tokenizer.json"])
    (hf / "tokenizer.json").write_text("[]")
    with pytest.raises(WeightError, match=rf"tokenizer\.json: it is damaged: CRC-32 .*{NAME} says"):
        load(hf)
    (hf / "tokenizer.json").unlink()
    with pytest.raises(WeightError, match=r"tokenizer\.json: the file is missing"):
        load(hf)


def test_digests_of_other_files_are_refused_in_a_sentence(hf: Path) -> None:
    write_digests(hf, weight_files(hf))
    first = weight_files(hf)[0]
    content = json.loads((hf / NAME).read_text())
    content["files"][first]["bytes"] += 1
    (hf / NAME).write_text(json.dumps(content))
    with pytest.raises(WeightError, match=rf"{first}: it has \d+ bytes, and {NAME} says"):
        load(hf)
    (hf / NAME).write_text("{")
    with pytest.raises(WeightError, match=rf"{NAME}: is damaged"):
        load(hf)
    (hf / NAME).write_text('{"version": 9}')
    with pytest.raises(WeightError, match=rf"{NAME}: is of version 9"):
        load(hf)
    assert load(hf, "off")


def hub_cache(root: Path, folder: Path) -> Path:
    """The same files as huggingface_hub's cache keeps them."""
    snapshot = root / "models--a--b" / "snapshots" / "0123"
    blobs = root / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in filter(Path.is_file, folder.iterdir()):
        algorithm = "sha256" if path.suffix == ".safetensors" else "git"
        blob = blobs / digest_of(path, algorithm)
        blob.write_bytes(path.read_bytes())
        (snapshot / path.name).symlink_to(blob)
    return snapshot


def test_files_of_a_hubs_cache_are_held_to_the_names_of_its_blobs(hf: Path, tmp_path: Path) -> None:
    snapshot = hub_cache(tmp_path / "cache", hf)
    want = load(snapshot, "full")
    name = weight_files(snapshot)[1]
    patient = Patient(snapshot / name)
    patient.flipped(len(patient.whole) - 5, 1)
    with pytest.raises(WeightError, match=rf"^{name}: it is damaged: SHA-256 [0-9a-f]{{64}}, and"):
        load(snapshot)
    patient.mend(len(patient.whole) - 5)
    assert same(load(snapshot), want)
    Patient(snapshot / "config.json").flipped(30, 0)
    with pytest.raises((WeightError, ValueError), match=r"config\.json"):
        load(snapshot)


def test_a_download_into_a_folder_is_held_to_its_metadata_until_it_is_written_anew(
    hf: Path,
) -> None:
    folder = hf / ".cache/huggingface/download"
    folder.mkdir(parents=True)
    name = weight_files(hf)[0]
    value = digest_of(hf / name, "sha256")
    stamp = (hf / name).stat().st_mtime
    (folder / f"{name}.metadata").write_text(f"{'0' * 40}\n{value}\n{stamp}\n")
    assert known_digests(hf)[name].value == value
    (folder / f"{name}.metadata").write_text(f"{'0' * 40}\n{'0' * 64}\n{stamp}\n")
    with pytest.raises(WeightError, match=rf"^{name}: it is damaged: SHA-256 .*, and the hub says"):
        load(hf)
    (folder / f"{name}.metadata").write_text(f"{'0' * 40}\n{'0' * 64}\n{stamp - 9}\n")
    assert load(hf)


@pytest.mark.parametrize("kind", ["single", "sums"])
def test_files_of_sha256sum_are_read(kind: str, hf: Path) -> None:
    name = weight_files(hf)[0]
    line = f"{digest_of(hf / name, 'sha256')}  {name}\n"
    if kind == "single":
        (hf / f"{name}.sha256").write_text(line.split()[0])
    else:
        (hf / "SHA256SUMS").write_text(f"# made today\n{line}")
    assert load(hf)
    Patient(hf / name).flipped(-9 % (hf / name).stat().st_size, 0)
    with pytest.raises(WeightError, match=rf"^{name}: it is damaged: SHA-256"):
        load(hf)


def test_a_digest_is_that_of_every_other_tool(tmp_path: Path) -> None:
    content = random.Random(5).randbytes(3_000_001)
    path = tmp_path / "x"
    path.write_bytes(content)
    assert digest_of(path, "sha256") == hashlib.sha256(content).hexdigest()
    blob = b"blob %d\0" % len(content) + content
    assert digest_of(path, "git") == hashlib.sha1(blob, usedforsecurity=False).hexdigest()
    import zlib

    assert crc32_of(path) == zlib.crc32(content)
    assert crc32_of(path, 17, 2_000_000) == zlib.crc32(content[17:2_000_017])
    with pytest.raises(OSError, match="1 too early"):
        crc32_of(path, 0, len(content) + 1)


sizes = st.lists(st.integers(0, 10**9), max_size=40)


@given(sizes, st.integers(1, 9))
def test_the_ranks_of_a_machine_together_do_each_check_once(sizes: list[int], ranks: int) -> None:
    checks = [Check(str(i), Path("x"), 0, size, "crc32", "", "") for i, size in enumerate(sizes)]
    shares = [share_of(checks, rank, ranks) for rank in range(ranks)]
    assert [check for share in shares for check in share] == checks
    largest = max(sizes, default=0)
    for share in shares:
        assert sum(check.size for check in share) <= sum(sizes) / ranks + largest


def test_a_rank_takes_its_part_by_where_torchrun_put_it(
    hf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_digests(hf, weight_files(hf))
    seen: list[list[Check]] = []
    real = verify.Verification
    monkeypatch.setattr(
        verify, "Verification", lambda checks, *rest: seen.append(checks) or real([], *rest)
    )
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with closing(open_weights(hf)) as source:
        for rank in ("0", "1"):
            monkeypatch.setenv("LOCAL_RANK", rank)
            verify.verification(hf, source.files, "auto")
        assert seen[0] + seen[1] == checks_for(hf, source.files, "auto")
        assert seen[0]
        assert seen[1]
