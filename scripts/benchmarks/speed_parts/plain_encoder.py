"""The encoder and the objective once more, straight from their definitions: what ours are compared with.

Nothing is done in parts, nothing is joined, and every table is made as a whole; so a loop over picks samples, a sorted
table of distances groups, 1x1 convolutions are the patch network, and attention makes its probabilities. OpenShape's
code (arXiv 2305.10764) does the same.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional


def sample(points: torch.Tensor, num_samples: int) -> torch.Tensor:
    """Farthest point sampling: `(batch, num_points, 3)` to indices `(batch, num_samples)`."""
    clouds = torch.arange(len(points), device=points.device)
    picked = torch.zeros(len(points), num_samples, dtype=torch.long, device=points.device)
    nearest = torch.full(points.shape[:2], torch.inf, device=points.device)
    for i in range(1, num_samples):
        distances = (points - points[clouds, picked[:, i - 1], None]).square().sum(dim=-1)
        nearest = torch.minimum(nearest, distances)
        picked[:, i] = nearest.argmax(dim=1)
    return picked


def sorted_ball_query(centers: torch.Tensor, points: torch.Tensor, radius: float, num_samples: int) -> torch.Tensor:
    """The first points in index order, by a table of distances from all centres to all points, which is sorted."""
    index = torch.arange(points.shape[1], device=points.device).expand(*centers.shape[:2], -1).clone()
    index[torch.cdist(centers, points) > radius] = points.shape[1]
    members = index.sort(dim=-1).values[..., :num_samples]
    return torch.where(members == points.shape[1], members[..., :1], members)


def group(model: Any, point_values: torch.Tensor, picked: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres `(batch, num_patches, 3)` and groups `(batch, num_patches, patch_size, 9)`."""
    clouds = torch.arange(len(point_values), device=point_values.device)
    xyz = point_values[..., :3]
    centers = xyz[clouds[:, None], picked]
    members = sorted_ball_query(centers, xyz, model.config.patch_radius, model.config.patch_size)
    chosen = point_values[clouds[:, None, None], members]
    return centers, torch.cat([chosen[..., :3] - centers[:, :, None], chosen], dim=-1)


def patch_network(network: Any, groups: torch.Tensor) -> torch.Tensor:
    """`(batch, num_patches, patch_size, channels)` to `(batch, num_patches, out_channels)`."""
    features = groups.permute(0, 3, 2, 1)
    for linear, norm in zip(network.linears, network.norms, strict=True):
        features = functional.conv2d(features, linear.weight[:, :, None, None], linear.bias)
        features = functional.batch_norm(
            features, norm.running_mean, norm.running_var, norm.weight, norm.bias, network.training, norm.momentum
        )
        features = features.relu()
    return features.amax(dim=2).transpose(1, 2)


def block(layer: Any, hidden: torch.Tensor) -> torch.Tensor:
    """A pre-norm transformer block: `(batch, tokens, width)` to the same."""
    attention, mlp = layer.self_attn, layer.mlp
    normed = layer.layer_norm1(hidden)
    query, key, value = (
        projection(normed).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    shares = (query @ key.transpose(2, 3) * attention.scaling).softmax(dim=-1)
    hidden = hidden + attention.out_proj((shares @ value).transpose(1, 2).flatten(2))
    return hidden + mlp.fc2(functional.gelu(mlp.fc1(layer.layer_norm2(hidden))))


def trunk(model: Any, centers: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """From the patches' centres and features to the embeddings `(batch, embedding_dim)`."""
    own = model.embeddings
    tokens = own.patch_norm(own.patch_projection(torch.cat([centers, features], dim=-1)))
    hidden = torch.cat([own.cls_token.expand(len(tokens), 1, -1), tokens], dim=1)
    for layer in model.layers:
        hidden = block(layer, hidden)
    return hidden[:, 0] if model.projection is None else model.projection(hidden[:, 0])


def encode(model: Any, point_values: torch.Tensor) -> torch.Tensor:
    """The whole: `(batch, num_points, 6)` to `(batch, embedding_dim)`."""
    with torch.no_grad():
        picked = sample(point_values[..., :3], model.config.num_patches)
        centers, groups = group(model, point_values, picked)
    return trunk(model, centers, patch_network(model.embeddings.patch_network, groups))


def objective(point: torch.Tensor, image: torch.Tensor, text: torch.Tensor, temperature: float) -> torch.Tensor:
    """Alignment at CLIP's first scale, and 0.3 times the mean Jeffrey divergence of all six relations.

    Self-pairs are among the relations; the duplicates of a batch are not looked for.
    """
    p, v, t = (functional.normalize(e, dim=-1) for e in (point, image, text))
    targets = torch.arange(len(p), device=p.device)
    alignment = [functional.cross_entropy(a @ b.T / 0.07, targets) for a, b in ((p, v), (v, p), (p, t), (t, p))]
    pairs = [
        ((v, v), (p, p)),
        ((t, t), (p, p)),
        ((v, t), (p, t)),
        ((t, v), (p, v)),
        ((v, t), (v, p)),
        ((t, v), (t, p)),
    ]
    divergences = []
    for teacher, student in pairs:
        log_p, log_q = (nn.functional.log_softmax(a @ b.T / temperature, dim=-1) for a, b in (teacher, student))
        divergences.append(((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=-1).mean())
    return torch.stack(alignment).mean() + 0.3 * torch.stack(divergences).mean()
