"""The ONNX graph from points to groups: farthest point sampling and grouping, as a loop over the patches.

Traced, `models/point_sampling.py` would become one step after the other for a fixed number of points. Here a step of
the loop picks a centre and computes the distances of all points to it, from which come both the group around it and
the next centre, so that memory grows with the points alone and not with points times patches.

Distances are `(dx² + dy²) + dz²` in float32, an operation of the graph each, so that nothing fuses them; TopK and
ArgMax take the lowest index of equals by their definition. The indices are those of `models/point_sampling.py`.
"""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import onnx
from onnx import numpy_helper, parser
from transformers import PreTrainedConfig


# Split's `num_outputs` is of this one, and so is what torch writes.
LOWEST_OPSET = 18


@dataclass(frozen=True)
class Sampling:
    """How an encoder makes groups of points.

    Args:
        num_patches (`int`): Centres, picked by farthest point sampling that begins with point 0.
        grouping (`"ball"` or `"nearest"`): As in [`PointBertConfig`].
        patch_radius (`float`, *optional*): Of a ball.
        patch_size (`int`): Points of a group.
        positions (`bool`): Whether a group's channels have xyz as it is, after xyz relative to the centre.
        colors (`bool`): Whether they have rgb, at their end.
    """

    num_patches: int
    grouping: Literal["ball", "nearest"]
    patch_radius: float | None
    patch_size: int
    positions: bool
    colors: bool

    @classmethod
    def of(cls, config: PreTrainedConfig) -> Self:
        """That of a `PointBertConfig` or `Uni3DConfig`."""
        if config.model_type == "uni3d":
            return cls(config.num_patches, "nearest", None, config.patch_size, positions=False, colors=True)
        radius = config.patch_radius if config.grouping == "ball" else None
        return cls(
            config.num_patches,
            config.grouping,
            radius,
            config.patch_size,
            config.patch_positions,
            config.patch_colors,
        )

    @property
    def group_channels(self) -> list[str]:
        """Names of a group's channels, in their order."""
        return [
            *("dx", "dy", "dz"),
            *(("x", "y", "z") if self.positions else ()),
            *(("r", "g", "b") if self.colors else ()),
        ]


# The members of the groups around the centres that a step has picked, from the distances to them.
_BALL = """\
        inside = LessOrEqual (distances, radius_squared)
        places = Where (inside, order, num_points_int32)
        # Points outside have an index beyond the last: the smallest indices are the first points inside.
        found, _found_at = TopK <axis = -1, largest = 0, sorted = 1> (places, size)
        first = Slice (found, zero, one, one)
        is_outside = Equal (found, num_points_int32)
        filled = Where (is_outside, first, found)
        members = Cast <to = 7> (filled)
"""
_NEAREST = """\
        _found, members = TopK <axis = -1, largest = 0, sorted = 1> (distances, size)
"""


def sampling_model(sampling: Sampling, opset: int = LOWEST_OPSET) -> onnx.ModelProto:
    """The graph from `point_values` (batch, num_points, 6) to `centers` (batch, num_patches, 3), `groups` (batch,
    num_patches, patch_size, channels), and the indices of both, `center_indices` and `group_indices`.

    Args:
        sampling ([`Sampling`])
        opset (`int`): Version of ONNX's operators, at least `LOWEST_OPSET`.
    """
    patches, size, channels = sampling.num_patches, sampling.patch_size, len(sampling.group_channels)
    parts = ["relative", *(["positions"] if sampling.positions else []), *(["colors"] if sampling.colors else [])]
    text = f"""<ir_version: {onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)])},
        opset_import: ["" : {opset}]>
    sampling (float[batch, num_points, 6] point_values) => (
        float[batch, {patches}, 3] centers, float[batch, {patches}, {size}, {channels}] groups,
        int64[batch, {patches}] center_indices, int64[batch, {patches}, {size}] group_indices
    ) <
        int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[1] two = {{2}}, int64[1] three = {{3}},
        int64[1] six = {{6}}, int64[1] last_axis = {{-1}}, int64 start = {{0}}, int64 step_size = {{1}},
        int64 steps = {{{patches}}}, int64[1] wanted = {{{size}}}, bool go_on = {{1}}
    > {{
        xyz = Slice (point_values, zero, three, two)
        x_column, y_column, z_column = Split <axis = 2, num_outputs = 3> (xyz)
        x = Squeeze (x_column, two)
        y = Squeeze (y_column, two)
        z = Squeeze (z_column, two)
        shape = Shape (x)
        batch_size = Slice (shape, zero, one)
        num_points = Slice (shape, one, two)
        num_points_scalar = Squeeze (num_points)
        num_points_int32 = Cast <to = 6> (num_points)
        order_int64 = Range (start, num_points_scalar, step_size)
        order = Cast <to = 6> (order_int64)
        size = Min (num_points, wanted)
        far = Expand (infinity, shape)
        column = Concat <axis = 0> (batch_size, one)
        point_zero = Expand (zero, column)
        _nearest, _last, all_picked, all_members = Loop (steps, go_on, far, point_zero) <body = one_patch (
            int64 step, bool go, float[b, n] nearest, int64[b, 1] last
        ) => (
            bool going, float[b, n] nearest_now, int64[b, 1] next, int64[b, 1] picked, int64[b, k] members
        ) {{
        going = Identity (go)
        picked = Identity (last)
        center_x = GatherElements <axis = 1> (x, last)
        center_y = GatherElements <axis = 1> (y, last)
        center_z = GatherElements <axis = 1> (z, last)
        dx = Sub (x, center_x)
        dy = Sub (y, center_y)
        dz = Sub (z, center_z)
        dx_squared = Mul (dx, dx)
        dy_squared = Mul (dy, dy)
        dz_squared = Mul (dz, dz)
        in_the_plane = Add (dx_squared, dy_squared)
        distances = Add (in_the_plane, dz_squared)
        nearest_now = Min (nearest, distances)
        next = ArgMax <axis = 1, keepdims = 1> (nearest_now)
{_BALL if sampling.grouping == "ball" else _NEAREST}
        }}>
        picked_rows = Squeeze (all_picked, two)
        center_indices = Transpose <perm = [1, 0]> (picked_rows)
        some_members = Transpose <perm = [1, 0, 2]> (all_members)
        # A cloud of fewer points than a group has: the first once more.
        first_members = Slice (some_members, zero, one, two)
        members_shape = Shape (some_members)
        rows = Slice (members_shape, zero, two)
        missing = Sub (wanted, size)
        padding_shape = Concat <axis = 0> (rows, missing)
        padding = Expand (first_members, padding_shape)
        group_indices = Concat <axis = 2> (some_members, padding)
        center_index_column = Unsqueeze (center_indices, last_axis)
        centers = GatherND <batch_dims = 1> (xyz, center_index_column)
        group_index_column = Unsqueeze (group_indices, last_axis)
        chosen = GatherND <batch_dims = 1> (point_values, group_index_column)
        positions = Slice (chosen, zero, three, three)
        colors = Slice (chosen, three, six, three)
        center_row = Unsqueeze (centers, two)
        relative = Sub (positions, center_row)
        groups = Concat <axis = -1> ({", ".join(parts)})
    }}"""
    model = parser.parse_model(text)
    # What the text has no way to write, or not to the last bit.
    constants = {"infinity": np.array([np.inf], dtype=np.float32)}
    if sampling.patch_radius is not None:
        constants["radius_squared"] = np.array(sampling.patch_radius**2, dtype=np.float32)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    _prune(model.graph)
    onnx.checker.check_model(model, full_check=True)
    return model


def _prune(graph: onnx.GraphProto) -> None:
    """Take out what no output depends on, as some kinds of groups need less than others: runtimes warn of it."""
    inner = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    needed = {output.name for output in graph.output}
    needed.update(name for body in inner for node in body.node for name in node.input)
    for node in reversed(list(graph.node)):
        if needed.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            needed.update(node.input)
    for constant in [constant for constant in graph.initializer if constant.name not in needed]:
        graph.initializer.remove(constant)
