"""MuJoCo, imported without a graphics context: the one place that decides it.

``MUJOCO_GL=egl`` or ``osmesa`` on a machine without those libraries breaks ``import mujoco`` itself, and
what draws with OpenGL (`gl`) makes its own context when asked, so it is off unless the environment wants it.
"""

import os
import re

os.environ.setdefault("MUJOCO_GL", "off")

import mujoco  # noqa: E402

__all__ = ["mujoco"]

_OUTSIDE = re.compile(
    r"<\s*(include|extension|plugin|model|attach)\b|\bfile\w*\s*=|<!(DOCTYPE|ENTITY)\b", re.IGNORECASE
)


def model_of(xml: str) -> mujoco.MjModel:
    """The compiled model of an MJCF text.

    Raises:
        ValueError: The text is not valid MJCF; the message carries MuJoCo's reason.
    """
    require_closed(xml)
    return mujoco.MjModel.from_xml_string(xml)


def spec_of(xml: str) -> mujoco.MjSpec:
    """An MJCF text as what can be changed and compiled again.

    Raises:
        ValueError: As `model_of`.
    """
    require_closed(xml)
    return mujoco.MjSpec.from_string(xml)


def require_closed(xml: str) -> None:
    """A scene comes from whoever wrote the shard: it says everything itself, opens no file and runs no code.

    Raises:
        ValueError: It includes a file, refers to one, or asks for a plugin.
    """
    found = _OUTSIDE.search(xml)
    if found is not None:
        raise ValueError(
            f"A scene must hold everything itself, without files and plugins; it has {found[0].strip()!r}. "
            "Write its parts into it."
        )


def freed_model_of(xml: str) -> mujoco.MjModel:
    """The compiled model of an MJCF text whose objects all move freely, so that they can be put anywhere.

    Hinges and the like give way to free joints; the order of the objects stays.

    Raises:
        ValueError: The text is not valid MJCF, or an object hangs on another one.
    """
    model = model_of(xml)
    if (model.jnt_type == mujoco.mjtJoint.mjJNT_FREE).all():
        return model
    spec = spec_of(xml)
    for body in spec.bodies:
        if body.joints and body.joints[0].type != mujoco.mjtJoint.mjJNT_FREE:
            if body.parent != spec.worldbody:
                raise ValueError(
                    f"objects must be children of the world; {body.name!r} hangs on another body."
                )
            for joint in body.joints:
                spec.delete(joint)
            body.add_freejoint()
    return spec.compile()


def object_bodies(model: mujoco.MjModel) -> list[int]:
    """Ids of the bodies that count as objects: those with a joint, in the model's order.

    A body without one, such as the rod of a pendulum, belongs to the world even where it is carried along;
    so do the many small bodies of a rope or a cloth (MuJoCo's flex).
    """
    small = set(model.flex_vertbodyid.tolist())
    return [body for body in range(model.nbody) if model.body_jntnum[body] and body not in small]
