"""Learning rates that fall from the head down to the first block, so that what was learned early changes least."""

import re

import torch


def layer_of(name: str, num_layers: int) -> int:
    """The depth of a parameter: 0 in the embeddings, i + 1 in block i, one more than the last block's beyond them."""
    if name.startswith("point_bert.embeddings."):
        return 0
    found = re.match(r"point_bert\.layers\.(\d+)\.", name)
    return int(found[1]) + 1 if found else num_layers + 1


def layer_wise_groups(
    model: torch.nn.Module, num_layers: int, learning_rate: float, weight_decay: float, layer_decay: float
) -> list[dict]:
    """Groups of an optimizer: two a depth, of weight matrices and of biases, norms and tokens, which do not decay.

    The rate at a depth is `learning_rate * layer_decay ** (num_layers + 1 - depth)`, as in BEiT (arXiv 2106.08254).

    Args:
        model (`torch.nn.Module`): With an encoder `point_bert`, and a head beside it.
        num_layers (`int`): The encoder's blocks.
        learning_rate (`float`): The head's.
        weight_decay (`float`)
        layer_decay (`float`): In (0, 1].
    """
    groups: dict[tuple[int, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        groups.setdefault((layer_of(name, num_layers), parameter.ndim >= 2), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": learning_rate * layer_decay ** (num_layers + 1 - depth),
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (depth, decays), parameters in sorted(groups.items(), key=lambda group: group[0])
    ]
