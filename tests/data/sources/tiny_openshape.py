"""A download of OpenShape's training data of a few shapes, in the published layout."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np


PUBLISHED = "/mnt/data/objaverse-processed/merged_for_training_final"
WIDTH = 1280
NUM_POINTS = 64


def embeds(seed, *shape, dtype=np.float32):
    """Not normalised, so that a reader's normalisation shows."""
    return 3 * np.random.default_rng(seed).standard_normal((*shape, WIDTH)).astype(dtype)


def feat(seed):
    return {"original": embeds(seed, 1), "prompt_avg": embeds(seed + 1000, 1)}


def shape(key, seed=0, **changes):
    """What the file of one shape holds; a change to `...` leaves the field out."""
    dataset, group, name = key.split("/")
    generator = np.random.default_rng(seed)
    content = {
        "dataset": dataset,
        "group": group,
        "id": name,
        "xyz": (generator.random((NUM_POINTS, 3)) * [0.2, 0.4, 0.8] + 0.1).astype(np.float32),
        "rgb": generator.random((NUM_POINTS, 3)).astype(np.float32),
        "image_feat": embeds(seed + 1, 12),
        "thumbnail_feat": embeds(seed + 2),
        "text": ["a chair", "furniture"],
        "text_feat": [feat(seed + 3), feat(seed + 4)],
        "blip_caption": "a wooden chair",
        "blip_caption_feat": feat(seed + 5),
        "msft_caption": "a chair with four legs",
        "msft_caption_feat": feat(seed + 6),
        "retrieval_text": ["chair for sale", "old chair"],
        "retrieval_text_feat": [{"original": embeds(seed + 7, 1)}, {"original": embeds(seed + 8, 1)}],
    }
    return {field: value for field, value in {**content, **changes}.items() if value is not ...}


def npy(value):
    if isinstance(value, bytes):
        return value
    file = io.BytesIO()
    np.save(file, value, allow_pickle=True)
    return file.getvalue()


def archive_of(key):
    dataset, group, _ = key.split("/")
    return f"Objaverse/{group}.tar.gz" if dataset == "Objaverse" else f"{dataset}.tar.gz"


def write_archives(folder, shapes, prefix=PUBLISHED[1:] + "/", tar_format=tarfile.GNU_FORMAT):
    archives = {}
    for key, value in shapes.items():
        archives.setdefault(archive_of(key), {})[f"{prefix}{key}.npy"] = npy(value)
    for name, members in archives.items():
        write_archive(folder / name, members, tar_format)


def write_archive(path, members, tar_format=tarfile.GNU_FORMAT):
    """Members: name -> bytes, or a `TarInfo` of anything but a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz", format=tar_format, compresslevel=1) as archive:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)


def write_folders(folder, shapes):
    for key, value in shapes.items():
        path = folder / f"{key}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(npy(value))


def item(key):
    dataset, group, name = key.split("/")
    return {"id": name, "dataset": dataset, "group": group, "data_path": f"{PUBLISHED}/{key}.npy"}


def meta_data(keys, rejected=(), categories=None, split="train_all"):
    """The files of meta_data.zip that are needed."""
    lvis = [
        {
            "uid": key.split("/")[2],
            "group": key.split("/")[1],
            "category": category,
            "data_path": f"{PUBLISHED}/{key}.npy",
        }
        for key, category in (categories or {}).items()
    ]
    ids = [key.split("/")[2] for key in keys if key.startswith("Objaverse/")]
    return {
        f"split/{split}.json": [item(key) for key in keys],
        "split/lvis.json": lvis,
        "gpt4_filtering.json": {name: {"flag": "N" if name in rejected else "Y", "name": "x"} for name in ids},
    }


def write_meta_data(folder: Path, files, zipped=True):
    folder.mkdir(parents=True, exist_ok=True)
    if zipped:
        with zipfile.ZipFile(folder / "meta_data.zip", "w") as archive:
            for name, content in files.items():
                archive.writestr(f"meta_data/{name}", content if isinstance(content, str) else json.dumps(content))
    else:
        for name, content in files.items():
            path = folder / "meta_data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content if isinstance(content, str) else json.dumps(content))


def write_download(folder, shapes, **options):
    """The whole download, and its folder."""
    write_archives(folder, shapes)
    write_meta_data(folder, meta_data(list(shapes), **options))
    return folder
