"""Measure how much an encoder's embeddings depend on the order of a cloud's points.

    python scripts/order_sensitivity.py --model outputs/demo/encoder --dataset scripts/demo_data

The order decides where sampling starts and, with grouping by balls, which points a crowded patch takes. Nothing else
depends on it.
"""

import argparse

import torch
from tqdm import tqdm

from mrd_hf.commands.arguments import CommandParser
from mrd_hf.data.loading import load_triplets
from mrd_hf.data.schema import SHAPE_COLUMNS, check_columns
from mrd_hf.encoder import load_encoder
from mrd_hf.errors import UserError
from mrd_hf.evaluation.encoding import encode_shapes
from mrd_hf_cli.running import run_script


def parse_arguments() -> argparse.Namespace:
    parser = CommandParser("scripts/order_sensitivity.py", description=__doc__)
    parser.add_argument("--model", required=True, help="the encoder: a folder or an id on the Hub")
    parser.add_argument("--dataset", required=True, help="triplet dataset: a folder or an id on the Hub")
    parser.add_argument("--split", default="test", help="split to take shapes from (default: test)")
    parser.add_argument("--orders", type=int, default=10, help="random orders of each shape (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the orders (default: 0)")
    parser.add_argument("--batch-size", type=int, default=64, help="shapes to encode at once (default: 64)")
    return parser.parse_args()


def shuffled(point_values: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each cloud of `(batch, num_points, channels)` in an order of its own."""
    order = torch.rand(point_values.shape[:2], generator=generator).argsort(dim=1)
    return point_values.gather(1, order[..., None].expand_as(point_values))


def main() -> None:
    arguments = parse_arguments()
    if arguments.orders < 1:
        raise UserError(f"--orders must be at least 1, got {arguments.orders}.")
    encoder = load_encoder(arguments.model)
    dataset = load_triplets(arguments.dataset, arguments.split)
    check_columns(dataset.features, SHAPE_COLUMNS, arguments.dataset)
    shapes = dataset.select_columns(["points", "colors"]).with_format("numpy")
    batches = [
        encoder.extractor(list(rows["points"]), list(rows["colors"]))["point_values"]
        for rows in shapes.iter(arguments.batch_size)
    ]
    generator = torch.Generator().manual_seed(arguments.seed)
    expected = encode_shapes(encoder.model, batches)
    bit_equal = torch.equal(encode_shapes(encoder.model, batches), expected)
    cosines, differences = [], []
    for _ in tqdm(range(arguments.orders), desc="orders"):
        found = encode_shapes(encoder.model, (shuffled(batch, generator) for batch in batches))
        cosines.append(torch.nn.functional.cosine_similarity(found, expected))
        differences.append((found - expected).norm(dim=1) / expected.norm(dim=1))
    cosine, difference = torch.cat(cosines), torch.cat(differences)
    print(f"{len(dataset)} shapes of {batches[0].shape[1]} points, {arguments.orders} random orders each")
    print(f"the same order twice     {'bit-equal' if bit_equal else 'NOT bit-equal'}")
    for name, values, worst in (("cosine", cosine, 0.01), ("relative difference", difference, 0.99)):
        median, tail = values.median(), values.quantile(worst)
        print(f"{name:<24} median {median:.4f}, 1 in 100 {'below' if worst < 0.5 else 'above'} {tail:.4f}")


if __name__ == "__main__":
    run_script(main)
