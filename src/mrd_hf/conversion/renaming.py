"""Other projects' names for our tensors, and the check that a checkpoint has them all and nothing else.

A table of names is a tuple of (pattern, replacement), of which the first that matches counts. A replacement may name
several tensors of ours that the other project keeps in one: `{q,k,v}_proj` are its rows, in three equal parts, and
`{patch|point}_linear3` its columns, in two.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel

from ..errors import UserError


Names = tuple[tuple[str, str], ...]

LISTED = 20
# What DistributedDataParallel, moving averages and torch.compile put before every name.
_WRAPPERS = re.compile(r"^(?:(?:module|model|_orig_mod)\.)+")
_PARTS = re.compile(r"{(.*)}")

# Point-BERT's patch network, in ULIP and Uni3D.
MINI_POINTNET_NAMES: Names = (
    (r"^point_encoder\.encoder\.first_conv\.0\.", "embeddings.patch_network.linear1."),
    (r"^point_encoder\.encoder\.first_conv\.1\.", "embeddings.patch_network.norm1."),
    (r"^point_encoder\.encoder\.first_conv\.3\.", "embeddings.patch_network.linear2."),
    (r"^point_encoder\.encoder\.second_conv\.0\.weight$", "embeddings.patch_network.{patch|point}_linear3.weight"),
    (r"^point_encoder\.encoder\.second_conv\.0\.bias$", "embeddings.patch_network.point_linear3.bias"),
    (r"^point_encoder\.encoder\.second_conv\.1\.", "embeddings.patch_network.norm3."),
    (r"^point_encoder\.encoder\.second_conv\.3\.", "embeddings.patch_network.linear4."),
)


def bare(name: str) -> str:
    """A tensor's name without what wrappers of the module put before it."""
    return _WRAPPERS.sub("", name)


@dataclass
class RenamedTensors:
    """A checkpoint's tensors under our names.

    Args:
        network (`str`): Whose they are, for messages.
        tensors (`dict[str, torch.Tensor]`): By our names, in the shapes they came in.
        sources (`dict[str, str]`): The name, with its shape, in the checkpoint of each of `tensors`.
        left_out (`Counter`): How many are known to be no part of the encoder, by what their names begin with.
        unknown (`list[str]`): Names, with shapes, of what is not known.
    """

    network: str
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    unknown: list[str] = field(default_factory=list)

    def size(self, name: str, dim: int) -> int:
        """One of the shape's numbers of a tensor without which the network's sizes cannot be told.

        Raises:
            UserError: when there is no such tensor, or it has fewer dimensions.
        """
        if name not in self.tensors or self.tensors[name].ndim <= dim:
            raise UserError(
                f"some tensors are {self.network}'s, but not one that tells its sizes: {name} in our names"
                + listing("that are not known", self.unknown)
                + "\nIs the file complete?"
            )
        return self.tensors[name].shape[dim]

    def num_layers(self) -> int:
        """How many layers there are.

        Raises:
            UserError: when some are left out, so that one number in a name would decide how large the model is.
        """
        layers = {int(found[1]) for name in self.tensors if (found := re.match(r"layers\.(\d+)\.", name))}
        missing = next((number for number in range(len(layers)) if number not in layers), None)
        if missing is not None:
            raise UserError(
                f"the tensors are {self.network}'s, but layer {missing} of them is missing. Is the file complete?"
            )
        return len(layers)


def rename(network: str, tensors: dict[str, torch.Tensor], names: Names, left_out: re.Pattern[str]) -> RenamedTensors:
    """Give a checkpoint's tensors our names.

    Args:
        network (`str`): Whose tensors they are, for messages.
        tensors (`dict[str, torch.Tensor]`): The checkpoint's.
        names (`tuple`): The table of names, for names without wrappers' prefixes.
        left_out (`re.Pattern`): Matches the beginnings of names of what is no part of the encoder.
    """
    renamed = RenamedTensors(network)
    for source, tensor in tensors.items():
        if other := left_out.match(bare(source)):
            renamed.left_out[other[0].rstrip(".")] += 1
            continue
        parts = dict(_parts(bare(source), tensor, names))
        if not parts or parts.keys() & renamed.tensors.keys():
            renamed.unknown.append(describe(source, tensor))
            continue
        renamed.tensors |= parts
        renamed.sources |= dict.fromkeys(parts, describe(source, tensor))
    return renamed


def _parts(source: str, tensor: torch.Tensor, names: Names) -> Iterator[tuple[str, torch.Tensor]]:
    for pattern, replacement in names:
        name, matched = re.subn(pattern, replacement, source)
        if not matched:
            continue
        fused = _PARTS.search(name)
        if fused is None:
            yield name, tensor
            return
        rows = "," in fused[1]
        parts, dim = fused[1].split("," if rows else "|"), 0 if rows else 1
        if tensor.ndim > dim and tensor.shape[dim] % len(parts) == 0:
            for part, piece in zip(parts, tensor.chunk(len(parts), dim), strict=True):
                yield name.replace(fused[0], part), piece
        return


def fit(model_class: type[PreTrainedModel], config: object, renamed: RenamedTensors) -> PreTrainedModel:
    """A model with the renamed tensors as its weights, copied. Dimensions of 1 need not agree: 1x1 convolutions are
    linear layers here. The weights keep their type of floating point number, or become float32 if they have several.

    Args:
        model_class (type): The model's.
        config (`PreTrainedConfig`): Its configuration.
        renamed ([`RenamedTensors`])

    Raises:
        UserError: when there is a tensor too few, too many or of another shape; the message lists them.
    """
    with torch.device("meta"):
        model = model_class(config)
    expected = model.state_dict()
    misfits = dict.fromkeys(renamed.unknown, "")
    floats = {tensor.dtype for tensor in renamed.tensors.values() if tensor.is_floating_point()}
    dtype = floats.pop() if len(floats) == 1 else torch.float32
    weights = {}
    for name, tensor in renamed.tensors.items():
        if name not in expected:
            misfits[renamed.sources[name]] = ""
        elif _squeezed(tensor) != _squeezed(expected[name]):
            misfits[renamed.sources[name]] = f" for {describe(name, expected[name])}"
        else:
            weight = tensor.detach().reshape(expected[name].shape)
            weight = weight.to(dtype if expected[name].is_floating_point() else expected[name].dtype)
            weights[name] = weight.clone(memory_format=torch.contiguous_format)
    missing = sorted(expected.keys() - renamed.tensors.keys())
    if misfits or missing:
        raise UserError(
            f"the tensors are not quite {renamed.network}'s"
            + listing("that do not fit", [source + why for source, why in misfits.items()])
            + listing("of ours to which none corresponds", missing)
            + "\nIs it a variant of that network, or a damaged file?"
        )
    model.load_state_dict(weights, assign=True)
    return model.eval()


def _squeezed(tensor: torch.Tensor) -> list[int]:
    return [size for size in tensor.shape if size != 1]


def describe(name: str, tensor: torch.Tensor) -> str:
    """A tensor's name and shape."""
    return f"{name} ({'x'.join(map(str, tensor.shape)) or 'a number'})"


def listing(kind: str, items: list[str]) -> str:
    """Lines for a message: how many items there are, and the first of them."""
    if not items:
        return ""
    more = [f"... and {len(items) - LISTED} more"] if len(items) > LISTED else []
    return "".join(f"\n  {line}" for line in [f"{len(items)} {kind}:", *(f"  {i}" for i in items[:LISTED] + more)])
