"""How much batch norm's live statistics change a step when a batch is split over processes or parts.

    python scripts/benchmarks/batch_statistics.py

The patch network's batch norms see all points of all patches of the shapes at hand. Split, each part has statistics of
its own: printed is how far loss and encoder gradient are from those of the whole batch, and, for comparison, with
running statistics, where nothing differs but rounding. Processes without SyncBatchNorm and parts of the gradient cache
split alike, so parts stand for both.
"""

import argparse

import torch
from torch import nn

from mrd_hf import MRDConfig, MRDForPretraining
from mrd_hf.data.loaders.augmentation import AugmentationConfig, augment_point_clouds
from mrd_hf.data.loaders.batch_sampler import ShuffledBatchSampler
from mrd_hf.data.loaders.triplet_dataset import TripletDataset
from mrd_hf.data.loading import load_triplets


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="scripts/demo_data", help="triplet dataset (default: the demo's)")
    parser.add_argument("--batch", type=int, default=32, help="shapes in the batch (default: 32)")
    parser.add_argument("--num_points", type=int, default=1024, help="points of a shape (default: 1024)")
    return parser.parse_args()


def real_batch(dataset: str, size: int, num_points: int) -> dict[str, torch.Tensor]:
    """The first batch that training would draw, augmented as by default."""
    triplets = TripletDataset(load_triplets(dataset, "train"), seed=0, cached=True, name=dataset)
    batch = triplets[next(iter(ShuffledBatchSampler(len(triplets), size, 1, seed=0)))]
    generator = torch.Generator().manual_seed(0)
    config = AugmentationConfig()
    values = augment_point_clouds(batch["points"], batch["colors"], num_points, config, generator)
    return {"point_values": values, "image_embeds": batch["image_embeds"], "text_embeds": batch["text_embeds"]}


def step(model: MRDForPretraining, batch: dict[str, torch.Tensor], part: int | None) -> tuple[float, torch.Tensor]:
    """The loss, and the gradient of all of the encoder's weights in one vector."""
    model.zero_grad()
    loss = model(**batch, encoder_batch_size=part).loss
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten().double() for p in model.encoder.parameters()])


def main() -> None:
    arguments = parse_arguments()
    batch = real_batch(arguments.dataset, arguments.batch, arguments.num_points)
    torch.manual_seed(0)
    width = batch["image_embeds"].shape[1]
    model = MRDForPretraining(MRDConfig(point_config={"num_hidden_layers": 4, "projection_dim": width})).train()
    print(f"{arguments.batch} shapes of {arguments.num_points} points, PointBERT of 4 blocks, first step")
    print("| shapes in a part | statistics | loss differs by | gradient differs by | cosine of gradients |")
    print("|---|---|---|---|---|")
    for live in (True, False):
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.train(live)
        loss, gradient = step(model, batch, None)
        for part in (arguments.batch // 2, arguments.batch // 4, arguments.batch // 8):
            other_loss, other = step(model, batch, part)
            difference = (other - gradient).norm() / gradient.norm()
            cosine = nn.functional.cosine_similarity(other, gradient, dim=0)
            statistics = "live" if live else "running"
            print(f"| {part} | {statistics} | {abs(other_loss - loss) / loss:.1e} | {difference:.1e} | {cosine:.4f} |")


if __name__ == "__main__":
    main()
