"""Print a Markdown table of the presets: parameters, patches, and the work of encoding one shape.

    python scripts/model_sizes.py --num-points 10000

The work is counted by torch on the real forward pass: every matrix product, two operations for a multiplication with
its addition. Sampling and grouping are comparisons and not matrix products, so they are not in it.
"""

import torch
from torch.utils.flop_counter import FlopCounterMode

from mrd_hf import POINT_BERT_PRESETS, PointBertConfig, PointBertModel
from mrd_hf.commands.arguments import CommandParser


def size_row(name: str, num_points: int) -> str:
    """One row of the table, computed on the meta device: shapes alone, no weights and no arithmetic."""
    config = PointBertConfig.from_preset(name)
    with torch.device("meta"), torch.no_grad():
        # Eager attention, whose products torch counts on every device.
        model = PointBertModel._from_config(config, attn_implementation="eager").eval()
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, num_points, 6))
    parameters = sum(p.numel() for p in model.parameters())
    patch = f"within {config.patch_radius}" if config.grouping == "ball" else "nearest"
    cells = [
        f"`{name}`",
        f"{parameters / 1e6:.2f}M",
        f"{config.hidden_size} / {config.num_hidden_layers} / {config.num_attention_heads}",
        f"{config.num_patches} of {config.patch_size} {patch}",
        "-" if config.projection_dim is None else str(config.projection_dim),
        f"{counter.get_total_flops() / 1e9:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = CommandParser("scripts/model_sizes.py", description=__doc__)
    parser.add_argument("--num-points", type=int, default=10000, help="points of the shape")
    arguments = parser.parse_args()
    print("| preset | parameters | width / depth / heads | patches | projection | GFLOPs a shape |")
    print("|---|---|---|---|---|---|")
    for name in POINT_BERT_PRESETS:
        print(size_row(name, arguments.num_points), flush=True)


if __name__ == "__main__":
    main()
