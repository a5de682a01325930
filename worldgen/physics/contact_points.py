"""Where two bodies touch or may: points, each with a gap and a normal, that move along with the bodies.

A ball touches at one point, a capsule at either end, a box that lies on another one at the corners of what
their faces share. All in closed form and differentiable, over a whole batch of scenes.
"""

# torch-geometric declares everything that a Data holds as something that may be None.
# pyright: reportOptionalSubscript=false, reportArgumentType=false, reportGeneralTypeIssues=false
# pyright: reportOptionalMemberAccess=false, reportOptionalOperand=false, reportOptionalIterable=false

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldgen.physics.contact_laws import rotation_matrix
from worldgen.physics.graph import Data, point_to_box

FAR = 1e3
"""Metres: the gap of a point that is none."""
_FACE_POINTS = 12
"""Of two faces: four edges of the one that enter and leave the other, and the corners of the other."""
_RIM = 1e-6
"""Metres that a point may lie beyond the border of a face."""
_FLAT = 1e-9
_RING = ((1.0, 1.0), (-1.0, 1.0), (-1.0, -1.0), (1.0, -1.0))


@dataclass(frozen=True)
class Touch:
    """C points at a moment."""

    gap: Float[Tensor, " C"]
    """Metres, negative where they overlap; `FAR` where two faces have fewer points."""
    normal: Float[Tensor, "C 3"]
    """From the source to the target, a unit vector."""
    place: Float[Tensor, "C 3"]
    """World frame, in the middle between the two surfaces."""


class ContactPoints:
    """The points at which the pairs of a graph may touch: the same ones as long as the graph is.

    * With the floor every corner of a body's core touches; exact.
    * Of two bodies that are not both boxes the corners of the core of either are held against the other, and
      of a ball only its middle: exact where one of them is a ball, or a capsule that meets with an end.
    * Two boxes touch with two faces: the one that parts them best (of six directions, Gottschalk et al. 1996)
      and the one of the other box that looks at it most, cut to what both cover.

    Contacts of an edge with a crossing edge are not seen as such, neither of two boxes nor of two capsules:
    boxes then part along a face's normal, and capsules that cross like logs pass through each other.

    Args:
        graph: As of `graph_of`; each pair of bodies counts once.
    """

    def __init__(self, graph: Data) -> None:
        source, target = graph.edge_index
        once = torch.nonzero((graph.kind[source] < 2) | (source < target))[:, 0]
        core, boxy = graph.x[:, 1:4], (graph.x[:, 1:4] > 0).all(dim=-1)
        ball = (core <= 0).all(dim=-1)
        floor = graph.kind[source[once]] == 0
        faces = boxy[source[once]] & boxy[target[once]] & ~floor
        pointed = once[~floor & ~faces]
        self.graph, self.rounding, self.core = graph, graph.x[:, 0], core
        # A ball's middle says all that there is to say of it and whatever else.
        own, other = ball[target[pointed]], ball[source[pointed]]
        here, yonder = pointed[own | ~other], pointed[~own]
        edges = torch.cat([once[floor], here, yonder])
        holds = torch.cat([target[once[floor]], target[here], source[yonder]])
        signs = _corner_signs(core).to(core)
        there = _distinct(core)[holds]
        self.floors = int(there[: len(once[floor])].sum())
        row, corner = torch.nonzero(there, as_tuple=True)
        self.holder, self.corner = holds[row], signs[corner]
        self.faces = once[faces]
        self.edge = torch.cat([edges[row], self.faces.repeat_interleave(_FACE_POINTS)])
        self.source, self.target = source[self.edge], target[self.edge]

    def __len__(self) -> int:
        return len(self.edge)

    def at(self, position: Float[Tensor, "n 3"], rotation: Float[Tensor, "n 4"]) -> Touch:
        """Gaps, normals and places, were the nodes there."""
        axes = rotation_matrix(rotation)
        parts = [self._corners(position, axes), self._faces(position, axes)]
        return Touch(*(torch.cat(one) for one in zip(*parts, strict=True)))

    def _corners(
        self, position: Float[Tensor, "n 3"], axes: Float[Tensor, "n 3 3"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        count, floors = len(self.holder), self.floors
        source, target = self.source[:count], self.target[:count]
        other = torch.where(self.holder == target, source, target)
        corner = position[self.holder] + _turned(axes[self.holder], self.corner * self.core[self.holder])
        offset = corner - position[other]
        up = axes[source[:floors]][..., 2]
        gap, normal = point_to_box(offset[floors:], axes[other[floors:]], self.core[other[floors:]])
        gap = torch.cat([(offset[:floors] * up).sum(dim=-1), gap - self.rounding[other[floors:]]])
        gap = gap - self.rounding[self.holder]
        outward = torch.cat([up, normal])
        place = corner - outward * (self.rounding[self.holder] + gap / 2)[:, None]
        return gap, torch.where((self.holder == target)[:, None], outward, -outward), place

    def _faces(
        self, position: Float[Tensor, "n 3"], axes: Float[Tensor, "n 3 3"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        source, target = self.graph.edge_index[:, self.faces]
        direction, own = _parting(position, axes, self.core, source, target)
        first, second = torch.where(own, target, source), torch.where(own, source, target)
        outward = torch.where(own[:, None], -direction, direction)  # from the first to the second
        height, place = _shared(
            outward, position[second] - position[first], axes[first], self.core[first], axes[second],
            self.core[second],
        )  # fmt: skip
        gap = height - (self.rounding[source] + self.rounding[target])[:, None]
        place = place + position[first][:, None] - outward[:, None] * height[..., None] / 2
        normal = direction[:, None].expand_as(place)
        return gap.flatten(), normal.flatten(0, 1), place.flatten(0, 1)


def _corner_signs(like: Tensor) -> Float[Tensor, "8 3"]:
    one = torch.tensor([1.0, -1.0], device=like.device)
    return torch.cartesian_prod(one, one, one)


def _distinct(core: Float[Tensor, "n 3"]) -> Bool[Tensor, "n 8"]:
    """Which corners of each core are others than those before: 1 of a ball, 2 of a capsule, 8 of a box."""
    return ((_corner_signs(core) > 0) | (core[:, None] > 0)).all(dim=-1)


def _turned(axes: Float[Tensor, "... 3 3"], vector: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3"]:
    """From a body's own axes to the world's."""
    return (axes * vector[..., None, :]).sum(dim=-1)


def _parting(
    position: Float[Tensor, "n 3"],
    axes: Float[Tensor, "n 3 3"],
    core: Float[Tensor, "n 3"],
    source: Int[Tensor, " P"],
    target: Int[Tensor, " P"],
) -> tuple[Float[Tensor, "P 3"], Bool[Tensor, " P"]]:
    """The face's normal along which boxes are farthest apart, from source to target; whether the target's."""
    offset = position[target] - position[source]
    along = torch.cat([axes[source].transpose(-1, -2), axes[target].transpose(-1, -2)], dim=1)  # (P 6 3)
    apart = (along * offset[:, None]).sum(dim=-1)
    reach = ((along @ axes[source]).abs() * core[source][:, None]).sum(dim=-1)
    reach = reach + ((along @ axes[target]).abs() * core[target][:, None]).sum(dim=-1)
    best = (apart.abs() - reach).argmax(dim=-1, keepdim=True)
    direction = along.take_along_dim(best[..., None], dim=1)[:, 0]
    sign = torch.where(apart.take_along_dim(best, dim=1) < 0, -1.0, 1.0)
    return direction * sign.to(direction), best[:, 0] >= 3


def _shared(
    outward: Float[Tensor, "P 3"],
    offset: Float[Tensor, "P 3"],
    axes: Float[Tensor, "P 3 3"],
    half: Float[Tensor, "P 3"],
    other_axes: Float[Tensor, "P 3 3"],
    other_half: Float[Tensor, "P 3"],
) -> tuple[Float[Tensor, "P 12"], Float[Tensor, "P 12 3"]]:
    """Heights above the first box's face of the corners of what two faces share, and where these are.

    Args:
        outward: Normal of the first box's face.
        offset: From its middle to the other's.
        axes: Of the first.
        half: Of the first.
        other_axes: Of the other.
        other_half: Of the other.
    """
    sides, size, level, _ = _face(outward, axes, half)
    tilted, other_size, depth, facing = _face(-outward, other_axes, other_half)
    middle = offset + facing * depth[:, None]  # of the other's face
    ring = outward.new_tensor(_RING)
    corners = middle[:, None] + _spread(ring * other_size[:, None], tilted)  # (P 4 3)
    rim = corners.roll(-1, dims=1)
    flat, ahead = _flattened(corners, sides), _flattened(rim, sides)
    enters, leaves = _cut(flat, ahead, size[:, None])
    crosses = enters <= leaves
    into = corners + enters.clamp(0, 1)[..., None] * (rim - corners)
    out_of = corners + leaves.clamp(0, 1)[..., None] * (rim - corners)
    # The first face's corners, carried along its normal onto the other face.
    raised = outward[:, None] * level[:, None, None] + _spread(ring * size[:, None], sides)
    steep = (outward * facing).sum(dim=-1).clamp(max=-_FLAT)
    lift = ((middle[:, None] - raised) * facing[:, None]).sum(dim=-1) / steep[:, None]
    carried = raised + lift[..., None] * outward[:, None]
    inside = (_flattened(carried - middle[:, None], tilted).abs() < other_size[:, None] - _RIM).all(dim=-1)
    place = torch.cat([into, out_of, carried], dim=1)
    there = torch.cat([crosses, crosses & (leaves < 1), inside], dim=1)
    height = (place * outward[:, None]).sum(dim=-1) - level[:, None]
    return torch.where(there, height, FAR), place


def _face(
    outward: Float[Tensor, "P 3"], axes: Float[Tensor, "P 3 3"], half: Float[Tensor, "P 3"]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The face of a box that looks most along a direction.

    Returns:
        Its two sides (P 2 3) and their half lengths (P 2), how far it is from the middle, its normal.
    """
    along = (axes * outward[:, :, None]).sum(dim=1)
    number = along.abs().argmax(dim=-1)
    pick = torch.stack([number, (number + 1) % 3, (number + 2) % 3], dim=1)
    columns = axes.transpose(-1, -2).take_along_dim(pick[..., None], dim=1)
    sizes = half.take_along_dim(pick, dim=1)
    sign = torch.where(along.take_along_dim(pick[:, :1], dim=1) < 0, -1.0, 1.0).to(axes)
    return columns[:, 1:], sizes[:, 1:], sizes[:, 0], columns[:, 0] * sign


def _spread(flat: Float[Tensor, "P 4 2"], sides: Float[Tensor, "P 2 3"]) -> Float[Tensor, "P 4 3"]:
    return flat[..., :1] * sides[:, None, 0] + flat[..., 1:] * sides[:, None, 1]


def _flattened(place: Float[Tensor, "P 4 3"], sides: Float[Tensor, "P 2 3"]) -> Float[Tensor, "P 4 2"]:
    return (place[:, :, None] * sides[:, None]).sum(dim=-1)


def _cut(
    start: Float[Tensor, "P 4 2"], end: Float[Tensor, "P 4 2"], size: Float[Tensor, "P 1 2"]
) -> tuple[Float[Tensor, "P 4"], Float[Tensor, "P 4"]]:
    """Where lines enter and leave a rectangle, in shares of their lengths (Liang and Barsky 1984)."""
    way, room = end - start, size + _RIM
    level = way.abs() < _FLAT
    slope = torch.where(level, 1.0, way)
    one, two = (-room - start) / slope, (room - start) / slope
    within = start.abs() <= room
    enters = torch.where(level, torch.where(within, -torch.inf, torch.inf), torch.minimum(one, two))
    leaves = torch.where(level, torch.where(within, torch.inf, -torch.inf), torch.maximum(one, two))
    return enters.amax(dim=-1).clamp(min=0), leaves.amin(dim=-1).clamp(max=1)
