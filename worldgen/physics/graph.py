"""A moment of a Trajectory as a graph: who may touch whom within a step, and how they stand to each other.

The graph is torch-geometric's own `Data`, a whole batch in one, with ``batch`` (n) saying whose a node is.
World frame, z up, SI units. Every body and stand is a box with rounded edges: half sizes of a core, and a
rounding around it. A ball is all rounding, a box all core, a capsule a line with a rounding.
"""

# torch-geometric declares everything that a Data holds as something that may be None.
# pyright: reportOptionalSubscript=false, reportArgumentType=false, reportGeneralTypeIssues=false
# pyright: reportOptionalMemberAccess=false, reportOptionalOperand=false, reportOptionalIterable=false

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldgen.physics.contact_laws import box_reach, rotation_matrix
from worldgen.types import Trajectory

try:
    from torch_geometric.data import Data
    from torch_geometric.nn import MessagePassing
except ImportError as error:  # an extra: the rest of the package works without
    raise ValueError(
        "Graphs of bodies need torch-geometric; it is not installed. Run: pip install 'worldgen[graph]'."
    ) from error

__all__ = ["SLACK", "Data", "MessagePassing", "Scenery", "floor_and_balls", "graph_of", "surfaces"]

SLACK = 0.01
"""Metres added to how far a body may come in a step."""
_TINY = 1e-9


@dataclass(frozen=True)
class Scenery:
    """What a Trajectory does not say of its world: gravity, materials, and what stands still.

    Of the K static geoms the first is the floor, a plane; the others are boxes. Of two bodies that touch the
    less springy has the say, of a body and a static geom the body, unless the geom is its own master: a floor
    on which things slide gives nothing back, whatever slides there.
    """

    gravity: Float[Tensor, "B 3"]
    """m/s^2, as a vector."""
    rounding: Float[Tensor, "B N"]
    """Metres of each body's half sizes that are rounding: the radius of balls and capsules, 0 of boxes."""
    restitution: Float[Tensor, "B N"]
    """Speed after a bounce over speed before it; 0 gives nothing back."""
    friction: Float[Tensor, "B N"]
    """Coulomb's coefficient."""
    static_position: Float[Tensor, "B K 3"]
    """Metres; of the floor any point of it."""
    static_rotation: Float[Tensor, "B K 4"]
    """Unit quaternion, w first; a floor that is not turned looks along z."""
    static_extent: Float[Tensor, "B K 3"]
    """Half sizes in metres; of the floor without meaning."""
    static_restitution: Float[Tensor, "B K"]
    static_friction: Float[Tensor, "B K"]
    master: Bool[Tensor, "B K"]
    """True where the geom's own restitution and friction count, whatever touches it."""
    pivot: Float[Tensor, "B N 3"]
    """Metres, where the massless rod that a body hangs on turns; without meaning of what moves freely."""
    axis: Float[Tensor, "B N 3"]
    """About which body and rod turn, a unit vector; 0 of what moves freely."""

    def __post_init__(self) -> None:
        batch, count = self.rounding.shape
        geoms = self.static_position.shape[1] if self.static_position.ndim == 3 else 0
        shapes = {
            "gravity": (batch, 3), "restitution": (batch, count), "friction": (batch, count),
            "static_position": (batch, geoms, 3), "static_rotation": (batch, geoms, 4),
            "static_extent": (batch, geoms, 3), "static_restitution": (batch, geoms),
            "static_friction": (batch, geoms), "master": (batch, geoms), "pivot": (batch, count, 3),
            "axis": (batch, count, 3),
        }  # fmt: skip
        for name, shape in shapes.items():
            if tuple(getattr(self, name).shape) != shape:
                got = tuple(getattr(self, name).shape)
                raise ValueError(f"Scenery.{name} must be {shape} beside the others; got {got}.")
        if geoms < 1:
            raise ValueError("Scenery must have a floor as its first static geom; got none.")
        for name in ("restitution", "static_restitution"):
            values = getattr(self, name)
            if values.numel() and not (values.min().item() >= 0 and values.max().item() <= 1):
                raise ValueError(f"Scenery.{name} must lie in [0, 1]; got {values.max().item():.4g}.")
        length = self.axis.norm(dim=-1)
        wrong = length[(length != 0) & ((length - 1).abs() > 1e-3)]
        if len(wrong):
            raise ValueError(
                f"Scenery.axis must have length 1, or 0 of what moves freely; got {wrong[0]:.4g}."
            )


def floor_and_balls(
    trajectory: Trajectory,
    gravity: Float[Tensor, " B"],
    restitution: Float[Tensor, "B N"],
    dead_floor: Bool[Tensor, " B"],
) -> Scenery:
    """The scenery of balls without friction on a floor at z = 0, which is all that stands there.

    Args:
        trajectory: The balls.
        gravity: m/s^2, downward.
        restitution: Of each ball.
        dead_floor: True where the floor gives nothing back, whatever falls on it.
    """
    batch, _, count, _ = trajectory.position.shape
    blank = trajectory.position.new_zeros
    unturned = trajectory.position.new_tensor([1.0, 0.0, 0.0, 0.0]).expand(batch, 1, 4)
    down = trajectory.position.new_tensor([0.0, 0.0, -1.0])
    return Scenery(
        gravity=gravity[:, None] * down,
        rounding=trajectory.extent[..., 0],
        restitution=restitution,
        friction=blank(batch, count),
        static_position=blank(batch, 1, 3),
        static_rotation=unturned,
        static_extent=blank(batch, 1, 3),
        static_restitution=blank(batch, 1),
        static_friction=blank(batch, 1),
        master=dead_floor[:, None],
        pivot=blank(batch, count, 3),
        axis=blank(batch, count, 3),
    )


def graph_of(trajectory: Trajectory, around: Scenery, frame: int = -1) -> Data:
    """The graph of one frame: nodes are static geoms and bodies that are present, the floor before all.

    An edge runs from j to i where the surface of i may reach that of j within ``dt``:
    ``gap < dt v + |g| dt^2 / 2 + SLACK``, v being the largest relative speed of two nodes of the same graph,
    corners that turn included; none ends at a static geom. Nothing in it depends on where the origin lies.

    Args:
        trajectory: States.
        around: Of the same clips.
        frame: Which of its frames.

    Returns:
        ``x (n 8)``: rounding, half sizes of the core (m), log mass (kg), restitution, friction, 1 of a static
        geom; ``edge_index (2 E)``; ``edge_attr (E 10)``: gap (m), normal from j to i, velocity of i seen from
        j along it (m/s), the rest of that velocity as a vector, restitution and friction of the pair;
        ``position``, ``velocity``, ``spin (n 3)``, ``rotation (n 4)``, ``kind (n)`` 0 of the floor, 1 of a
        stand, 2 of a body; ``row (n)``, of a body its place among the B N; ``pivot``, ``axis (n 3)`` as in
        the scenery; ``gravity (B 3)``, ``dt (B)``, ``batch (n)``.

    Raises:
        ValueError: Another number of bodies than the scenery has, or a body without mass.
    """
    graph = _nodes(trajectory, around, frame)
    edges = _all_pairs(graph)
    gap, normal = surfaces(graph, edges, graph.position)
    relative = graph.velocity[edges[1]] - graph.velocity[edges[0]]
    swing = graph.spin.norm(dim=-1) * graph.x[:, 1:4].norm(dim=-1)  # of a core's corners; 0 of a ball
    speed = relative.norm(dim=-1) + swing[edges[0]] + swing[edges[1]]
    fastest = _largest(speed, graph.batch[edges[1]], len(graph.dt))
    reach = graph.dt * fastest + graph.gravity.norm(dim=-1) * graph.dt**2 / 2 + SLACK
    near = gap < reach[graph.batch[edges[1]]]
    edges, gap, normal, relative = edges[:, near], gap[near], normal[near], relative[near]
    along = (relative * normal).sum(dim=-1)
    tangential = relative - along[:, None] * normal
    graph.edge_index = edges
    graph.edge_attr = torch.cat(
        [gap[:, None], normal, along[:, None], tangential, _materials(graph, edges)], dim=1
    )
    del graph.master
    return graph


def surfaces(
    graph: Data, edge_index: Int[Tensor, "2 E"], position: Float[Tensor, "n 3"]
) -> tuple[Float[Tensor, " E"], Float[Tensor, "E 3"]]:
    """Signed gaps in metres, negative where they overlap, and unit normals from j to i, were the nodes there.

    Exact between a ball and any rounded box, and between any rounded box and the floor; of two boxes the gap
    is that of one and the ball around the other, which is never too large.
    """
    source, target = edge_index
    rounding, core = graph.x[:, 0], graph.x[:, 1:4]
    offset = position[target] - position[source]
    boxy = core.detach().amax(dim=-1) > 0
    if not bool(boxy[graph.kind > 0].any()):
        distance = (offset.square().sum(dim=-1) + _TINY**2).sqrt()
        gap = distance - rounding[source] - rounding[target]
        normal = offset / distance[:, None]
    else:
        turned = boxy[target]  # then i is the box, and j the point
        box = torch.where(turned, target, source)
        sign = 1 - 2 * turned.to(offset)
        gap, normal = point_to_box(offset * sign[:, None], rotation_matrix(graph.rotation[box]), core[box])
        around = core[torch.where(turned, source, target)].norm(dim=-1)  # 0 of a ball
        gap, normal = gap - rounding[source] - rounding[target] - around, normal * sign[:, None]
    floor = graph.kind[source] == 0
    if not bool(floor.any()):
        return gap, normal
    up = rotation_matrix(graph.rotation[source])[..., 2]
    below = box_reach(_in_axes(up, graph.rotation[target]), core[target]) + rounding[target]
    on_floor = (offset * up).sum(dim=-1) - below
    return torch.where(floor, on_floor, gap), torch.where(floor[:, None], up, normal)


def _nodes(trajectory: Trajectory, around: Scenery, frame: int) -> Data:
    batch, _, count, _ = trajectory.position.shape
    if around.rounding.shape != (batch, count):
        raise ValueError(
            f"Scenery must be those of the trajectory's {batch} clips of {count} bodies; "
            f"got {tuple(around.rounding.shape)}."
        )
    geoms, position = around.static_position.shape[1], trajectory.position[:, frame]
    blank = position.new_zeros
    present = torch.cat(
        [torch.ones_like(around.master), trajectory.present[:, frame]], dim=1
    ).flatten()  # (B (K + N))
    if not bool((trajectory.mass[trajectory.present[:, frame]] > 0).all()):
        raise ValueError("Bodies of a graph must have a mass; got one of 0 kg. Give it, or 1 to all.")

    def joined(static: Tensor, bodies: Tensor) -> Tensor:
        return torch.cat([static, bodies], dim=1).flatten(0, 1)[present]

    core = (trajectory.extent - around.rounding[..., None]).clamp(min=0)
    log_mass = torch.where(trajectory.mass > 0, trajectory.mass, 1.0).log()
    kind = torch.full((batch, geoms + count), 2, device=position.device)
    kind[:, :geoms] = 1
    kind[:, 0] = 0
    features = [
        joined(blank(batch, geoms), around.rounding)[:, None],
        joined(around.static_extent, core),
        joined(blank(batch, geoms), log_mass)[:, None],
        joined(around.static_restitution, around.restitution)[:, None],
        joined(around.static_friction, around.friction)[:, None],
        joined(blank(batch, geoms) + 1, blank(batch, count))[:, None],
    ]
    row = torch.arange(batch * count, device=position.device).view(batch, count)
    return Data(
        x=torch.cat(features, dim=1),
        position=joined(around.static_position, position),
        velocity=joined(blank(batch, geoms, 3), trajectory.velocity[:, frame]),
        rotation=joined(around.static_rotation, trajectory.rotation[:, frame]),
        spin=joined(blank(batch, geoms, 3), trajectory.spin[:, frame]),
        kind=kind.flatten()[present],
        row=joined(torch.full_like(around.master, -1, dtype=torch.long), row),
        pivot=joined(blank(batch, geoms, 3), around.pivot),
        axis=joined(blank(batch, geoms, 3), around.axis),
        master=joined(around.master, torch.zeros_like(row, dtype=torch.bool)),
        gravity=around.gravity,
        dt=trajectory.dt,
        batch=torch.arange(batch, device=position.device).repeat_interleave(geoms + count)[present],
        num_nodes=int(present.sum()),
    )


def _all_pairs(graph: Data) -> Int[Tensor, "2 E"]:
    """From every node to every body of the same graph but itself."""
    sizes = torch.bincount(graph.batch, minlength=len(graph.dt))
    first = sizes.cumsum(0) - sizes
    target = torch.nonzero(graph.kind == 2)[:, 0]
    width = sizes[graph.batch[target]]
    target = target.repeat_interleave(width)
    place = torch.arange(len(target), device=target.device)
    source = place - (width.cumsum(0) - width).repeat_interleave(width) + first[graph.batch[target]]
    return torch.stack([source, target])[:, source != target]


def point_to_box(
    offset: Float[Tensor, "E 3"], axes: Float[Tensor, "E 3 3"], half: Float[Tensor, "E 3"]
) -> tuple[Float[Tensor, " E"], Float[Tensor, "E 3"]]:
    """Signed distance of a point from a box, and the unit vector from there to the point."""
    local = (offset[:, :, None] * axes).sum(dim=1)
    apart = local - torch.minimum(torch.maximum(local, -half), half)
    distance = (apart.square().sum(dim=-1) + _TINY**2).sqrt()
    depth, face = (half - local.abs()).min(dim=-1)
    outside = apart.detach().abs().amax(dim=-1) > 0
    to_face = torch.nn.functional.one_hot(face, 3) * torch.where(local < 0, -1.0, 1.0).to(local)
    direction = torch.where(outside[:, None], apart / distance[:, None], to_face)
    return torch.where(outside, distance, -depth), (axes * direction[:, None, :]).sum(dim=-1)


def _in_axes(vector: Float[Tensor, "E 3"], rotation: Float[Tensor, "E 4"]) -> Float[Tensor, "E 3"]:
    return (vector[:, :, None] * rotation_matrix(rotation)).sum(dim=1)


def _materials(graph: Data, edges: Int[Tensor, "2 E"]) -> Float[Tensor, "E 2"]:
    """Restitution and friction of each pair."""
    source, target = (graph.x[end, 5:7] for end in edges)
    springy = torch.minimum(source[:, :1], target[:, :1])
    rough = torch.maximum(source[:, 1:], target[:, 1:])
    pair = torch.cat([springy, rough], dim=1)
    static = (graph.kind[edges[0]] < 2)[:, None]
    own = graph.master[edges[0]][:, None]
    return torch.where(static, torch.where(own, source, target), pair)


def _largest(values: Float[Tensor, " E"], group: Int[Tensor, " E"], count: int) -> Float[Tensor, " B"]:
    """The largest value of each group, 0 of an empty one; the radius is no thing to learn through."""
    return values.new_zeros(count).scatter_reduce(0, group, values.detach(), "amax")
