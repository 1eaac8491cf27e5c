"""The field's benchmarks in the layouts they were published in, as large in number but of few points a shape."""

import json
import os

import h5py
import numpy as np


MODELNET40 = [
    *("airplane", "bathtub", "bed", "bench", "bookshelf", "bottle", "bowl", "car", "chair", "cone", "cup", "curtain"),
    *("desk", "door", "dresser", "flower_pot", "glass_box", "guitar", "keyboard", "lamp", "laptop", "mantel"),
    *("monitor", "night_stand", "person", "piano", "plant", "radio", "range_hood", "sink", "sofa", "stairs", "stool"),
    *("table", "tent", "toilet", "tv_stand", "vase", "wardrobe", "xbox"),
]
# Of the test split: those of ModelNet10 as published, 908 in all; the others are made to give 2,468.
MODELNET10_COUNTS = {
    **{"bathtub": 50, "bed": 100, "chair": 100, "desk": 86, "dresser": 86, "monitor": 100, "night_stand": 86},
    **{"sofa": 100, "table": 100, "toilet": 100},
}
SCANOBJECTNN = (
    "bag bin box cabinet chair desk display door shelf table bed pillow sink sofa toilet".split()  # noqa: SIM905
)


class Code:
    """Runs a command when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def modelnet_categories():
    """The category of each of the 2,468 test shapes."""
    return [name for name in MODELNET40 for _ in range(MODELNET10_COUNTS.get(name, 52))]


def clouds(count, num_points=4, seed=0):
    """Float32 (count, num_points, 3)."""
    return np.random.default_rng(seed).random((count, num_points, 3)).astype(np.float32)


def object_array(items):
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def save_pickled(file, value):
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, value, allow_pickle=True)


def write_openshape_modelnet(folder, categories=None, points=None):
    """Its files; gives the points."""
    categories = modelnet_categories() if categories is None else categories
    points = clouds(len(categories)) if points is None else points
    folder.mkdir(parents=True, exist_ok=True)
    items = [{"name": f"{category}_{i:04d}", "category": category} for i, category in enumerate(categories)]
    (folder / "test_split.json").write_text(json.dumps(items))
    rows = [{"xyz": cloud, "rgb": np.full(cloud.shape, 100.0)} for cloud in points]
    save_pickled(folder / "test_pc.npy", object_array(rows))
    return points


def write_h5(file, data, label, **more):
    file.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(file, "w") as content:
        content.create_dataset("data", data=data, compression="gzip")
        content.create_dataset("label", data=label)
        for name, value in more.items():
            content.create_dataset(name, data=value)


def write_hdf5_modelnet(folder, labels=None, split="test", files=2, names=MODELNET40):
    """The files of one split; gives the points. The shapes are shuffled, as published."""
    if labels is None:
        labels = np.array([MODELNET40.index(name) for name in modelnet_categories()])
        labels = np.random.default_rng(1).permutation(labels)
    points = clouds(len(labels))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "shape_names.txt").write_text("\n".join(names) + "\n")
    listed = [f"ply_data_{split}{i}.h5" for i in range(files)]
    (folder / f"{split}_files.txt").write_text(
        "\n".join(f"data/modelnet40_ply_hdf5_2048/{name}" for name in listed) + "\n"
    )
    for name, some, of_some in zip(listed, np.array_split(points, files), np.array_split(labels, files), strict=True):
        write_h5(folder / name, some, of_some[:, None].astype(np.uint8), normal=some, faceId=np.zeros(some.shape[:2]))
    return points, labels


def write_resampled_modelnet(folder, categories=None):
    """The test split; gives the points, in the order of its list."""
    categories = modelnet_categories() if categories is None else categories
    points = np.resize(clouds(50), (len(categories), 4, 3))  # the same fifty over and over, and their files are links
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "modelnet40_shape_names.txt").write_text("\n".join(MODELNET40) + "\n")
    ids = [f"{category}_{i:04d}" for i, category in enumerate(categories)]
    (folder / "modelnet40_test.txt").write_text("\n".join(ids) + "\n")
    for name in set(categories):
        (folder / name).mkdir(exist_ok=True)
    files = [folder / category / f"{shape_id}.txt" for shape_id, category in zip(ids, categories, strict=True)]
    for i, (file, cloud) in enumerate(zip(files, points, strict=True)):
        if i >= 50:
            os.link(files[i - 50], file)
        else:
            file.write_text("".join(f"{x:.6f},{y:.6f},{z:.6f},0,0,1\n" for x, y, z in cloud))
    return points


# A pyramid, three times as high as wide, that stands along z.
PYRAMID = "5 6 0\n-1 -1 0\n1 -1 0\n1 1 0\n-1 1 0\n0 0 6\n3 0 1 2\n3 0 2 3\n3 0 1 4\n3 1 2 4\n3 2 3 4\n3 3 0 4\n"


def write_off_modelnet(folder, categories=None, split="test"):
    """Meshes of one split; every other file has its counts on the line of the header, as many of ModelNet40 do."""
    categories = modelnet_categories() if categories is None else categories
    for name in set(categories):
        (folder / name / split).mkdir(parents=True, exist_ok=True)
    files = [folder / name / split / f"{name}_{i:04d}.off" for i, name in enumerate(categories)]
    for i, file in enumerate(files):
        if i >= 2:
            os.link(files[i - 2], file)
        else:
            file.write_text(("OFF" if i % 2 else "OFF\n") + PYRAMID)


def write_scanobjectnn(file, count, labels=None):
    """An official file; gives the points and labels."""
    labels = np.arange(count) % len(SCANOBJECTNN) if labels is None else labels
    points = clouds(count)
    write_h5(file, points, labels.astype(np.uint8), mask=np.zeros(points.shape[:2], dtype=np.int8))
    return points, labels


def write_openshape_scanobjectnn(file, count=2890, **changes):
    labels = np.arange(count) % len(SCANOBJECTNN)
    points = clouds(count)
    save_pickled(file, {"xyz": points, "label": labels, **changes})
    return points, labels


def write_lvis(folder, shapes, categories):
    """`lvis.json` of uid -> category, and the file of each of the `shapes`, a dict uid -> content."""
    disk = "/mnt/data/objaverse-processed/merged_for_training_final/Objaverse/000-{:03d}/{}.npy"
    uids = sorted(categories)
    items = [
        {
            "uid": uid,
            "group": f"000-{i % 3:03d}",
            "category": categories[uid],
            "data_path": disk.format(i % 3, uid),
        }
        for i, uid in enumerate(uids)
    ]
    (folder / "meta_data/split").mkdir(parents=True)
    (folder / "meta_data/split/lvis.json").write_text(json.dumps(items))
    for item in items:
        if item["uid"] in shapes:
            save_pickled(folder / "Objaverse" / item["group"] / f"{item['uid']}.npy", shapes[item["uid"]])
