"""Checkpoints of every kind are read; nothing in them is executed; what cannot be read is refused with its name."""

import argparse
import collections
import datetime
import functools
import os
import pickle
import random
import shutil
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mrd_hf.conversion.checkpoint_file import read_checkpoint
from mrd_hf.errors import UserError


TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}


class Settings(dict):
    """As EasyDict's: a dictionary whose items are attributes as well."""

    def __init__(self, **items: object) -> None:
        super().__init__(items)
        self.__dict__.update(items)


class Trap:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def save(tmp_path: Path, contents: object, **arguments) -> Path:
    file = tmp_path / "model.pt"
    torch.save(contents, file, **arguments)
    return file


def assert_read(file: Path, **expected) -> None:
    checkpoint = read_checkpoint(file)
    assert checkpoint.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert torch.equal(checkpoint.tensors[name], tensor)
    for field, value in expected.items():
        assert getattr(checkpoint, field) == value


@pytest.mark.parametrize("suffix", ["pt", "pth", "bin", "ckpt"])
def test_reads_a_bare_state_dict(tmp_path, suffix):
    torch.save(collections.OrderedDict(TENSORS), tmp_path / f"model.{suffix}")
    assert_read(tmp_path / f"model.{suffix}", entry=None, others=())


def test_reads_safetensors(tmp_path):
    save_file(TENSORS, tmp_path / "model.safetensors")
    assert_read(tmp_path / "model.safetensors", entry=None, others=())


@pytest.mark.parametrize("entry", ["state_dict_ema", "state_dict", "module", "model"])
def test_finds_the_tensors_among_the_rest(tmp_path, entry):
    contents = {"epoch": 3, "step": torch.tensor(9), entry: TENSORS, "text_proj": None, "optimizer": {"state": {}}}
    assert_read(save(tmp_path, contents), entry=entry, others=("epoch", "step", "optimizer"))


def test_prefers_the_moving_average(tmp_path):
    other = {name: tensor + 1 for name, tensor in TENSORS.items()}
    file = save(tmp_path, {"state_dict": other, "state_dict_ema": TENSORS})
    assert_read(file, entry="state_dict_ema", others=("state_dict",))
    assert_read(save(tmp_path, {"state_dict_ema": None, "state_dict": TENSORS}), entry="state_dict")


def test_reads_files_from_before_torchs_zip_format(tmp_path):
    file = save(tmp_path, {"state_dict": TENSORS, "epoch": 3}, _use_new_zipfile_serialization=False)
    assert_read(file, entry="state_dict", others=("epoch",))


@pytest.mark.parametrize(
    "extra",
    [
        argparse.Namespace(lr=0.1, output_dir=Path("out"), nested=argparse.Namespace(x=(1, "y"))),
        np.float64(46.8),
        [np.float32(1.5), np.int64(3), np.bool_(True)],
        np.arange(5),
        Settings(num_group=512, inner=Settings(depth=3)),
        collections.defaultdict(list, {"a": [1]}),
        {"when": datetime.timedelta(3), "which": {1, 2}, "raw": b"bytes", "z": 1j},
        torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))]).state_dict(),
        torch.Size([2, 3]),
        random.Random(0).getstate(),
        torch.nn.Linear(2, 2),
    ],
    ids=lambda extra: type(extra).__name__,
)
def test_other_objects_beside_the_weights_do_not_matter(tmp_path, extra):
    file = save(tmp_path, {"state_dict": TENSORS, "extra": extra})
    before = set(torch.serialization.get_safe_globals())
    assert_read(file, others=("extra",))
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize(
    "call",
    [
        lambda touched: (os.system, f"touch {touched}"),
        lambda touched: (os.mkdir, str(touched)),
        lambda touched: (eval, f"open({str(touched)!r}, 'w')"),
        lambda touched: (exec, f"open({str(touched)!r}, 'w')"),
        lambda touched: (shutil.copy, __file__, str(touched)),
        lambda touched: (np.save, str(touched), 3),
        lambda touched: (Path.touch, touched),
        lambda touched: (torch.save, 3, str(touched)),
        lambda touched: (functools.partial(Path.touch, touched),),
        lambda touched: (pickle.loads, pickle.dumps(Trap(os.mkdir, str(touched)))),
    ],
    ids=["system", "mkdir", "eval", "exec", "copy", "numpy", "method", "torch", "partial", "pickle"],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_is_ever_executed(tmp_path, call, legacy):
    touched = tmp_path / "touched"
    file = save(
        tmp_path, {"state_dict": TENSORS, "trap": Trap(*call(touched))}, _use_new_zipfile_serialization=not legacy
    )
    try:
        assert_read(file)
    except UserError as error:
        messages = ("cannot be read without running what it contains", "is not a readable checkpoint")
        assert str(error).startswith(tuple(f"model.pt: {message}" for message in messages))  # noqa: PT017
    assert not touched.exists()
    torch.load(file, weights_only=False)  # it would have been
    assert list(tmp_path.glob("touched*"))


def test_a_trap_in_the_place_of_a_tensor_is_no_tensor(tmp_path):
    touched = tmp_path / "touched"
    file = save(tmp_path, {"state_dict": {**TENSORS, "b": Trap(shutil.copy, __file__, str(touched))}})
    assert_read(file)
    assert not touched.exists()


def test_what_torch_never_allows_is_named(tmp_path):
    with pytest.raises(UserError, match=r"never done \(.*(posix|nt)\.system.*safetensors"):
        read_checkpoint(save(tmp_path, {"state_dict": TENSORS, "trap": Trap(os.system, "true")}))


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="what is mapped is listed on Linux only")
def test_the_tensors_are_mapped_not_read(tmp_path):
    file = save(tmp_path, {"state_dict": TENSORS, "optimizer": torch.zeros(1000)})
    checkpoint = read_checkpoint(file)
    assert checkpoint.tensors.keys() == TENSORS.keys()
    assert str(file) in Path("/proc/self/maps").read_text()


def torch_script(file: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(file))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda file: file.write_text("weights\n"), "is not a readable checkpoint|cannot be read without"),
        (lambda file: file.write_text("hi there\n"), r"is not a readable checkpoint(?!.*(Error|\[)); expected"),
        (lambda file: file.write_bytes(b""), "is not a readable checkpoint"),
        (lambda file: file.write_bytes(b"\x80\x02}q\x00."), "is not a readable checkpoint|cannot be read without"),
        (lambda file: torch.save(3, file), "holds a int, not a dictionary of tensors"),
        (lambda file: torch.save([torch.ones(2)], file), "holds a list"),
        (lambda file: torch.save({}, file), "no tensors, neither at the top nor under .*; it holds nothing"),
        (lambda file: torch.save({"net": TENSORS, "epoch": 1}, file), "no tensors.*it holds net, epoch"),
        (lambda file: torch.save(torch.nn.Linear(2, 2), file), "no tensors"),
        (lambda file: torch.save({"a": torch.ones(2).to_sparse()}, file), "tensor a is sparse"),
        (lambda file: torch.save({"a": torch.ones(2, device="meta")}, file), "tensor a is .* without data"),
        (
            lambda file: torch.save({"a": torch.ones(1).expand(10**12)}, file),
            r"tensor a has the shape \(1000000000000,\), and the data of a smaller one; save it once more, contiguous",
        ),
        (torch_script, "is a TorchScript program"),
        (lambda file: shutil.make_archive(str(file.with_suffix("")), "zip", file.parent / "folder"), "no such file"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_refuses_what_is_no_checkpoint(tmp_path, write, message):
    (tmp_path / "folder").mkdir()
    write(tmp_path / "model.pt")
    with pytest.raises(UserError, match=rf"model.pt: .*({message})"):
        read_checkpoint(tmp_path / "model.pt")


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_refuses_files_cut_short(tmp_path, kept, kind):
    file = tmp_path / ("model.safetensors" if kind == "safetensors" else "model.pt")
    if kind == "safetensors":
        save_file(TENSORS, file)
    else:
        torch.save(TENSORS, file, _use_new_zipfile_serialization=kind == "zip")
    file.write_bytes(file.read_bytes()[: int(kept * file.stat().st_size)])
    with pytest.raises(UserError, match=f"{file.name}: (is cut short|is not a readable|cannot be read)"):
        read_checkpoint(file)


def test_refuses_an_archive_that_is_no_checkpoint(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").touch()
    file = Path(shutil.make_archive(str(tmp_path / "model"), "zip", tmp_path / "folder"))
    with pytest.raises(UserError, match="model.zip: is a zip archive, but not one made by torch.save"):
        read_checkpoint(file)


def test_refuses_a_compressed_checkpoint_that_could_unpack_to_any_size(tmp_path):
    stored = save(tmp_path, {"a": torch.zeros(10_000_000)})
    file = tmp_path / "small.pt"
    with zipfile.ZipFile(stored) as source, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert file.stat().st_size < 100_000
    with pytest.raises(UserError, match=r"small.pt: its model/data.pkl is compressed, which torch.save does not do"):
        read_checkpoint(file)


def test_refuses_many_names_before_it_takes_long(tmp_path):
    names = b"".join(b"cmodule%d\nname\n" % number for number in range(50_000))
    file = tmp_path / "names.pt"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("names/data.pkl", b"\x80\x02]q\x00(" + names + b"e.")
        archive.writestr("names/version", "3\n")
    began = time.process_time()
    with pytest.raises(UserError, match="names.pt: .*it names 50000 classes, and at most 1000 are looked at"):
        read_checkpoint(file)
    assert time.process_time() - began < 2
