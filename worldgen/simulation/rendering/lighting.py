"""Lights and backgrounds of a scene, written into its MJCF: who has the scene can film it again.

The ray renderers draw one lamp, hard or soft, and two-dimensional textures on infinite planes; they
refuse other textures by name, and `gl.render_gl` draws them.
"""

from __future__ import annotations

from dataclasses import dataclass

from worldgen.simulation.engine import mujoco
from worldgen.simulation.rendering.film import HARD_BULB


@dataclass(frozen=True)
class Light:
    """A lamp, the light at the camera, and what comes from everywhere; a sum of 1 shows a color as it is."""

    position: tuple[float, float, float]
    """Of the lamp, metres."""
    key: float
    """Brightness of the lamp on a surface that faces it."""
    head: float
    """Brightness of the light at the camera, which casts no shadow."""
    ambient: float
    radius: float = 0.0
    """Of the lamp, metres; its shadows are soft where it is above 0.02."""

    def __post_init__(self) -> None:
        if min(self.key, self.head, self.ambient) < 0 or self.radius < 0:
            raise ValueError(
                "Light's brightnesses and radius must not be negative; "
                f"got key {self.key}, head {self.head}, ambient {self.ambient}, radius {self.radius}."
            )


LIGHTS = {
    "above": Light((0.0, -3.0, 30.0), key=0.14, head=0.10, ambient=0.74),
    "left": Light((-18.0, -12.0, 24.0), key=0.30, head=0.10, ambient=0.60),
    "right": Light((18.0, -12.0, 24.0), key=0.30, head=0.10, ambient=0.60),
    "front": Light((0.0, -24.0, 16.0), key=0.30, head=0.05, ambient=0.62),
    "soft": Light((-6.0, -6.0, 12.0), key=0.34, head=0.06, ambient=0.58, radius=1.2),
    "dim": Light((0.0, -3.0, 30.0), key=0.08, head=0.06, ambient=0.42),
    "bright": Light((0.0, -3.0, 30.0), key=0.18, head=0.10, ambient=0.84),
}
"""By name; "above" is how scenes are lit unless another is drawn: mostly from everywhere, so that balls look
flat and the centroid of their pixels is their center to 0.2 px."""


@dataclass(frozen=True)
class Checker:
    """Squares in two colors (RGB in [0, 1])."""

    first: tuple[float, float, float]
    second: tuple[float, float, float]
    square: float
    """Edge of a square, metres."""


@dataclass(frozen=True)
class Gradient:
    """Two colors (RGB in [0, 1]) that blend from the middle of a patch to its border, patch beside patch."""

    middle: tuple[float, float, float]
    border: tuple[float, float, float]
    patch: float
    """Edge of a patch, metres."""


BACKGROUNDS: dict[str, Checker | Gradient | None] = {
    "plain": None,
    "checker": Checker((0.78, 0.78, 0.80), (0.88, 0.88, 0.86), square=0.4),
    "fine checker": Checker((0.74, 0.76, 0.80), (0.90, 0.90, 0.90), square=0.15),
    "gradient": Gradient((0.96, 0.96, 0.94), (0.66, 0.70, 0.78), patch=4.0),
}
"""Patterns of the wall by name; "plain" is its one grey."""


def set_light(spec: mujoco.MjSpec, light: Light, shift: float = 0.0) -> None:
    """Light a scene, which has no light yet, by one lamp; ``shift`` moves it to the right, in metres."""
    spec.visual.headlight.ambient = [light.ambient] * 3
    spec.visual.headlight.diffuse = [light.head] * 3
    spec.visual.headlight.specular = [0.0] * 3
    x, y, z = light.position[0] + shift, *light.position[1:]
    toward_origin = [0.0 - x / z, 0.0 - y / z, -1.0]
    lamp = spec.worldbody.add_light(name="lamp", pos=[x, y, z], dir=toward_origin, castshadow=True)
    lamp.diffuse, lamp.ambient, lamp.specular = [light.key] * 3, [0.0] * 3, [0.0] * 3
    if light.radius > HARD_BULB:
        lamp.bulbradius = light.radius


def hang_background(spec: mujoco.MjSpec, pattern: Checker | Gradient) -> None:
    """Hang a pattern before the wall's face: an infinite upright plane that nothing touches."""
    builtin = mujoco.mjtBuiltin.mjBUILTIN_CHECKER
    if isinstance(pattern, Gradient):
        builtin, length, colors = mujoco.mjtBuiltin.mjBUILTIN_GRADIENT, pattern.patch, _colors(pattern)
    else:
        length, colors = 2 * pattern.square, _colors(pattern)
    spec.add_texture(
        name="background", type=mujoco.mjtTexture.mjTEXTURE_2D, builtin=builtin, width=128, height=128,
        rgb1=colors[0], rgb2=colors[1],
    )  # fmt: skip
    material = spec.add_material(name="background", texuniform=True, texrepeat=[2 / length] * 2)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "background"
    spec.worldbody.add_geom(
        name="background", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 0.05], pos=[0, 0.79, 0],
        quat=[0.5**0.5, 0.5**0.5, 0, 0], material="background", rgba=[1, 1, 1, 1], contype=0, conaffinity=0,
    )  # fmt: skip


def _colors(pattern: Checker | Gradient) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    if isinstance(pattern, Gradient):
        return pattern.middle, pattern.border
    return pattern.first, pattern.second
