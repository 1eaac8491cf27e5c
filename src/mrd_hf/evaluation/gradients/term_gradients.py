"""The gradient of each term of the loss on one batch: with respect to the encoder's parameters, and to embeddings.

Terms are `point_image` and `point_text`, the means of the alignment's two cross-entropies with images and with texts,
and the losses of the relations. The values come from the model's own objective, so nothing of it is written here
again.

The loss depends on the encoder through its terms alone. So its gradient is the sum of the terms' gradients, each times
the derivative of the loss with respect to that term: the term's weight. Where weights are learned, the loss depends on
a term in two ways, by the term's share and by the entropy term; the derivative has both.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ...models.modeling_mrd import MRDForPretraining, MRDForPretrainingOutput
from ...models.mrd_objective import ALIGNMENT_TERMS
from ...models.relation_distillation import is_intra


ALIGNMENT = ("point_image", "point_text")
# Sums of weighted terms, in the order to show them.
SUMS = ("alignment", "intra", "cross", "relations", "loss")


@dataclass(frozen=True)
class TermGradients:
    """What [`term_gradients`] found on one batch; rows are terms.

    Attributes:
        names (`list[str]`): The terms.
        losses (`torch.Tensor` of shape `(num_terms,)`): Their values.
        weights (`torch.Tensor` of shape `(num_terms,)`): Derivative of the loss with respect to each.
        encoder (`torch.Tensor` of shape `(num_terms, num_parameters)`):
            Gradients with respect to the encoder's trainable parameters, all in one row.
        embeddings (`torch.Tensor` of shape `(num_terms, batch * embedding_dim)`):
            Gradients with respect to the shapes' unit embeddings, along the sphere.
        loss (`float`): The whole loss.
    """

    names: list[str]
    losses: torch.Tensor
    weights: torch.Tensor
    encoder: torch.Tensor
    embeddings: torch.Tensor
    loss: float


def term_gradients(
    model: MRDForPretraining, inputs: Mapping[str, torch.Tensor], encoder_batch_size: int | None = None
) -> TermGradients:
    """Gradients of all terms on a batch, in the mode (train or eval) that the model is in.

    The loss depends on the direction of an embedding alone. So the gradient with respect to the unit embedding p/|p|
    is the one with respect to p, times |p|; of encoders whose embeddings have other lengths it is comparable.

    Args:
        model ([`MRDForPretraining`])
        inputs (`Mapping` of `torch.Tensor`): `point_values`, `image_embeds` and `text_embeds`, as for its `forward`.
        encoder_batch_size (`int`, *optional*):
            Shapes that the encoder sees at a time, for batches that do not fit into memory; default: all.
    """
    encode = model.encoder.get_point_features
    parts = inputs["point_values"].split(encoder_batch_size or len(inputs["point_values"]))
    # As the gradient cache does: embeddings of all parts first, and later each part again by the same random numbers.
    with torch.no_grad(), torch.random.fork_rng():
        embeds = torch.cat([encode(part) for part in parts])
    embeds.requires_grad_()
    output = model.objective(embeds, inputs["image_embeds"], inputs["text_embeds"])
    terms = _terms(output, model.objective.loss_names)
    of_embeds = torch.stack([torch.autograd.grad(value, embeds, retain_graph=True)[0] for value in terms.values()])
    parameters = [p for p in model.encoder.parameters() if p.requires_grad]
    of_encoder: torch.Tensor | None = None
    for part, gradients in zip(parts, of_embeds.split([len(part) for part in parts], dim=1), strict=True):
        encoded = encode(part)
        rows = torch.stack([_flat_gradient(encoded, gradient, parameters) for gradient in gradients])
        of_encoder = rows if of_encoder is None else of_encoder.add_(rows)
    assert of_encoder is not None and output.loss is not None
    lengths = embeds.detach().norm(dim=1, keepdim=True)
    return TermGradients(
        names=list(terms),
        losses=torch.stack([value.detach() for value in terms.values()]),
        weights=_weights(output),
        encoder=of_encoder,
        embeddings=(of_embeds * lengths).flatten(start_dim=1),
        loss=output.loss.item(),
    )


def sums_of_terms(names: list[str]) -> dict[str, list[int]]:
    """Which terms each of `SUMS` adds up, with their weights; those of which there is no term are left out.

    A loss of several relations (`intra_image+intra_text`) is within modalities if the first of them is.

    Args:
        names (`list[str]`): The terms, as in [`TermGradients`].
    """
    relations = [index for index, name in enumerate(names) if name not in ALIGNMENT]
    intra = [index for index in relations if is_intra(names[index].split("+")[0])]
    members = {
        "alignment": [index for index, name in enumerate(names) if name in ALIGNMENT],
        "intra": intra,
        "cross": [index for index in relations if index not in intra],
        "relations": relations,
        "loss": list(range(len(names))),
    }
    return {name: members[name] for name in SUMS if members[name]}


def _flat_gradient(
    encoded: torch.Tensor, gradient: torch.Tensor, parameters: list[torch.nn.Parameter]
) -> torch.Tensor:
    """What reaches the parameters of the embeddings' gradient, in one row."""
    found = torch.autograd.grad(
        encoded, parameters, gradient, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return torch.cat([part.flatten() for part in found])


def _terms(output: MRDForPretrainingOutput, loss_names: list[str]) -> dict[str, torch.Tensor]:
    assert output.alignment_losses is not None
    losses = {f"point_{modality}": output.alignment_losses[_places(modality)].mean() for modality in ("image", "text")}
    if output.relation_losses is None:
        return losses
    return losses | dict(zip(loss_names, output.relation_losses, strict=True))


def _weights(output: MRDForPretrainingOutput) -> torch.Tensor:
    """Derivative of the loss with respect to each term."""
    assert output.alignment_losses is not None and output.loss is not None
    values = [output.alignment_losses]
    values += [] if output.relation_losses is None else [output.relation_losses]
    alignment, *relations = torch.autograd.grad(output.loss, values, retain_graph=True)
    # Both losses of a term count alike, so moving their mean by a little moves each by as much.
    of_alignment = [alignment[_places(modality)].sum() for modality in ("image", "text")]
    return torch.cat([torch.stack(of_alignment), *relations])


def _places(modality: str) -> list[int]:
    """Of the alignment's losses with a modality."""
    return [index for index, pair in enumerate(ALIGNMENT_TERMS) if modality in pair]
