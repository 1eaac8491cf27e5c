"""glTF files with skins and morph targets."""

import struct

from .gltf_writer import FLOAT, UBYTE, Gltf


def skinned(file: Gltf, joints: list, weights: list, component: int = FLOAT, **skin) -> Gltf:
    """The square, skinned to nodes 1 and 2, which are at (10, 0, 0) and, of twice the size, at (0, 20, 0)."""
    attributes = {
        "JOINTS_0": file.accessor(joints, UBYTE),
        "WEIGHTS_0": file.accessor(weights, component, normalized=component != FLOAT),
    }
    mesh = file.mesh(file.square(attributes=attributes))
    file.add("skins", joints=[1, 2], **skin)
    file.json["nodes"] = [
        {"mesh": mesh, "skin": 0, "translation": [99, 99, 99]},
        {"translation": [10, 0, 0]},
        {"translation": [0, 20, 0], "scale": [2, 2, 2]},
    ]
    file.json["scenes"] = [{"nodes": [0, 1, 2]}]
    return file


def morphed(file: Gltf, node: dict, **mesh) -> Gltf:
    """The square with two targets: along z by 1, and, sparse, its third corner along x by 4."""
    up = file.accessor([(0, 0, 1)] * 4)
    places = {"bufferView": file.view(bytes([2])), "componentType": UBYTE}
    values = {"bufferView": file.view(struct.pack("<3f", 4, 0, 0))}
    right = file.add(
        "accessors",
        componentType=FLOAT,
        count=4,
        type="VEC3",
        sparse={"count": 1, "indices": places, "values": values},
    )
    targets = [{"POSITION": up}, {"POSITION": right}]
    return file.show({"mesh": file.mesh(file.square(targets=targets), **mesh), **node})
