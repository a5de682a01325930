"""Small made-up clips for the tests of the data room: every field set, nothing simulated."""

from collections.abc import Callable

import pytest
import torch

from worldgen.types import Camera, Clip, Contacts, Trajectory


@pytest.fixture
def make_clip() -> Callable[..., Clip]:
    return _make_clip


def _make_clip(seed: int, objects: int = 2, frames: int = 3, size: int = 8, contacts: int = 2) -> Clip:
    """A clip of one, with values that a round trip through uint8 frames and float16 depth keeps."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    rotation = torch.nn.functional.normalize(normal(1, frames, objects, 4), dim=-1)
    normals = torch.nn.functional.normalize(normal(contacts, 3), dim=-1)
    truth = Trajectory(
        position=normal(1, frames, objects, 3),
        rotation=rotation,
        velocity=normal(1, frames, objects, 3),
        spin=normal(1, frames, objects, 3),
        mass=torch.rand(1, objects, generator=random) + 0.5,
        extent=torch.rand(1, objects, 3, generator=random),
        present=torch.rand(1, frames, objects, generator=random) > 0.2,
        dt=torch.tensor([0.04]),
        contacts=(
            Contacts(
                time=torch.rand(contacts, generator=random).sort().values,
                bodies=torch.randint(-1, objects, (contacts, 2), generator=random),
                point=normal(contacts, 3),
                normal=normals,
                impulse=torch.rand(contacts, generator=random),
            ),
        ),
    )
    pixels = torch.randint(0, 256, (1, frames, 3, size, size), generator=random)
    return Clip(
        frames=pixels.float() / 255,
        fps=torch.tensor([25.0]),
        prompts=(f"ball number {seed} falls, größer",),
        sound=torch.rand(1, 320, generator=random) * 2 - 1,
        depth=(torch.rand(1, frames, 1, size, size, generator=random) * 20).half().float(),
        masks=torch.rand(1, frames, objects, size, size, generator=random) > 0.5,
        imu=normal(1, 7, 6),
        camera=Camera(
            position=torch.tensor([[0.0, -12.0, 1.0]]),
            rotation=torch.linalg.qr(normal(1, 3, 3))[0],
            fovy=torch.tensor([11.4]),
        ),
        truth=truth,
        scenes=(f"<mujoco model='{seed}'/>",),
    )
