"""The ONNX graph from groups to embeddings, which torch writes, and the one of both parts."""

import contextlib
import logging
import warnings
from collections.abc import Iterator

import onnx
import torch
from onnx import compose
from torch import nn
from transformers import PreTrainedModel


# Where torch keeps, with a node, the modules that it comes from.
SCOPES = "pkg.torch.onnx.name_scopes"
BLOCKS = "'model.layers"
# Its readers take no file of more bytes.
MAX_PROTOBUF = 2**31 - 1


class EmbeddingOfGroups(nn.Module):
    """An encoder that takes groups in the place of points.

    Args:
        model (`PreTrainedModel`): A `PointBertModel` or `Uni3DModel`, in evaluation mode.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self.train(model.training)

    def forward(self, centers: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        """`(batch, num_patches, 3)` and `(batch, num_patches, patch_size, channels)` to `(batch, embedding_dim)`."""
        with groups_made_by(self.model, lambda _: (centers, groups)):
            return self.model.get_point_features(centers.new_zeros(centers.shape[0], 1, 6))


@contextlib.contextmanager
def groups_made_by(model: PreTrainedModel, group) -> Iterator[None]:  # type: ignore[no-untyped-def]
    """Let a function of `point_values` make centres and groups in the place of the encoder's own, for a while."""
    model.embeddings.group = group
    try:
        yield
    finally:
        del model.embeddings.group


@torch.no_grad()
def network_model(model: PreTrainedModel, opset: int) -> onnx.ModelProto:
    """The graph from `centers` and `groups` to `point_embeds`, with the weights in it; the batch is dynamic.

    Its nodes still say, in their metadata, which modules they come from; see [`nodes_of_blocks`].

    Args:
        model (`PreTrainedModel`): A `PointBertModel` or `Uni3DModel` on the CPU, in evaluation mode.
        opset (`int`): Version of ONNX's operators.
    """
    # Two clouds, as torch takes a dynamic size of one for a fixed one.
    centers, groups = model.embeddings.group(torch.rand(2, 64, 6))
    with without_notes():
        program = torch.onnx.export(
            EmbeddingOfGroups(model),
            (centers, groups),
            dynamo=True,
            dynamic_shapes=({0: "batch"}, {0: "batch"}),
            input_names=["centers", "groups"],
            output_names=["point_embeds"],
            opset_version=opset,
            verbose=False,
        )
    assert program is not None  # with dynamo
    return program.model_proto


def nodes_of_blocks(network: onnx.ModelProto) -> set[str]:
    """Names of the nodes that come from the transformer's blocks."""
    return {
        node.name
        for node in network.graph.node
        if any(entry.key == SCOPES and BLOCKS in entry.value for entry in node.metadata_props)
    }


def without_metadata(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without what torch notes beside nodes and values, the paths of this machine's files among it."""
    graph = model.graph
    for entry in [model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]:
        del entry.metadata_props[:]
        entry.doc_string = ""
    return model


def join(sampling: onnx.ModelProto, network: onnx.ModelProto) -> onnx.ModelProto:
    """The graph from `point_values` to `point_embeds`."""
    # Of the network's names alone, as compose overlooks some of those within a loop.
    named = compose.add_prefix(network, "network/", rename_inputs=False, rename_outputs=False)
    parts = onnx.ModelProto(), named
    parts[0].CopyFrom(sampling)
    for part in parts:
        part.ir_version = max(sampling.ir_version, network.ir_version)
    joined = compose.merge_models(*parts, io_map=[("centers", "centers"), ("groups", "groups")])
    del joined.opset_import[:]  # where it is twice
    joined.opset_import.extend(sampling.opset_import)
    # compose would leave out, with outputs that are not asked for, what the loop's body reads.
    for output in [output for output in joined.graph.output if output.name != "point_embeds"]:
        joined.graph.output.remove(output)
    onnx.checker.check_model(joined)
    return joined


@contextlib.contextmanager
def without_notes() -> Iterator[None]:
    """Without the warnings of exporters about their own insides, and about packages that they look for."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
