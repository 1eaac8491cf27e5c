"""ONNX files beside torch on clouds of many sizes: sampled indices, and embeddings in float32.

    python scripts/benchmarks/exports/parity.py --clouds 100

Encoders have weights drawn at random, with the norms of a trained network; clouds are in the unit ball, on surfaces,
and on lattices, where points double and many distances are equal.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from transformers import PreTrainedModel

from mrd_hf import PointBertConfig, PointBertModel, Uni3DConfig, Uni3DModel
from mrd_hf.exporting.checking import compare, sampled_indices
from mrd_hf.exporting.network_graph import join, network_model, without_metadata
from mrd_hf.exporting.sampling_graph import Sampling, sampling_model
from mrd_hf.exporting.sessions import open_session


ENCODERS = {
    "PointBERT scaling 1": (PointBertModel, PointBertConfig.from_preset("openshape-1")),
    "PointBERT scaling 4": (PointBertModel, PointBertConfig.from_preset("openshape-4")),
    "ULIP-2": (PointBertModel, PointBertConfig.from_preset("ulip-2")),
    "Uni3D tiny": (Uni3DModel, Uni3DConfig.from_preset("tiny")),
}
FEWEST, MOST = 500, 20_000
KINDS = ("ball", "sphere", "lattice", "duplicates")


def drawn_encoder(name: str) -> PreTrainedModel:
    """An encoder whose weights keep the size of what goes through them, and whose norms are no identity."""
    model_class, config = ENCODERS[name]
    torch.manual_seed(0)
    model = model_class(config).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.normal_(std=module.in_features**-0.5)
            if isinstance(module, (torch.nn.LayerNorm, torch.nn.BatchNorm1d)):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(std=0.1)
        for name, statistics in model.named_buffers():
            if name.endswith("running_mean"):
                statistics.normal_(std=0.1)
            if name.endswith("running_var"):
                statistics.uniform_(0.5, 1.5)
    return model


def drawn_cloud(number: int, count: int) -> torch.Tensor:
    """The `number`-th of `count` clouds, `(1, num_points, 6)`, in float32; sizes go from the fewest to the most."""
    generator = np.random.default_rng(number)
    num_points = round(FEWEST * (MOST / FEWEST) ** (number / max(1, count - 1)))
    xyz = generator.standard_normal((num_points, 3))
    xyz /= np.linalg.norm(xyz, axis=1, keepdims=True)
    kind = KINDS[number % len(KINDS)]
    if kind != "sphere":
        xyz *= generator.random((num_points, 1)) ** (1 / 3)
    if kind == "lattice":
        xyz = np.round(xyz * 8) / 8
    if kind == "duplicates":
        xyz = xyz[generator.integers(0, num_points // 4, num_points)]
    return torch.from_numpy(np.concatenate([xyz, generator.random((num_points, 3))], axis=1).astype(np.float32))[None]


def measure(name: str, count: int) -> tuple[int, int, float]:
    """How many clouds have other centres, how many other groups, and the largest relative error of an embedding."""
    model = drawn_encoder(name)
    sampling = sampling_model(Sampling.of(model.config))
    encoder = join(sampling, without_metadata(network_model(model, 18)))
    with tempfile.TemporaryDirectory() as folder:
        for graph, file in ((sampling, "sampling.onnx"), (encoder, "encoder.onnx")):
            onnx.save(graph, Path(folder) / file)
        sampler, runner = (open_session(Path(folder) / file) for file in ("sampling.onnx", "encoder.onnx"))
    other_centers = other_groups = 0
    error = 0.0
    for number in range(count):
        values = drawn_cloud(number, count)
        inputs = {"point_values": values.numpy()}
        found = sampler.run(["center_indices", "group_indices"], inputs)
        expected = sampled_indices(model, values)
        other_centers += not np.array_equal(found[0], expected[0])
        other_groups += not np.array_equal(found[1], expected[1])
        with torch.inference_mode():
            embeds = model.get_point_features(values).numpy()
        error = max(error, compare(runner.run(None, inputs)[0], embeds).relative_error)
    return other_centers, other_groups, error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clouds", type=int, default=100, help="for each encoder (default: 100)")
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=list(ENCODERS))
    arguments = parser.parse_args()
    print("| encoder | clouds | other centres | other groups | largest relative error |\n|---|---|---|---|---|")
    for name in arguments.encoders:
        centers, groups, error = measure(name, arguments.clouds)
        print(f"| {name} | {arguments.clouds} | {centers} | {groups} | {error:.1e} |", flush=True)


if __name__ == "__main__":
    main()
