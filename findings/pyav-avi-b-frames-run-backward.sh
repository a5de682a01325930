#!/usr/bin/env bash
# av 18.1.0
# Source: AVI stores no presentation times; the demuxer numbers packets as they are stored, and frame.pts is taken from these.
# Guess: frames come out of `container.decode` in the order in which they are shown, so `frame.pts` grows.
# Behaviour: for H.264 with B-frames in AVI the frames come in the right order, but their pts go backward;
# frame.dts grows. Who sorts by pts, or takes times from it, plays the video in the order of storage.
# Exits 0 while it is so.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "av==18.1.0" "numpy>=2"
"$folder/venv/bin/python" - "$folder/ball.avi" <<'PYTHON'
import sys

import av
import numpy as np

with av.open(sys.argv[1], "w") as file:
    stream = file.add_stream("libx264", rate=25, options={"bf": "2", "b-adapt": "0", "g": "12"})
    stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
    for number in range(24):
        image = np.full((64, 64, 3), 30, np.uint8)
        image[24:40, 2 + 2 * number : 12 + 2 * number] = 220
        for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
            file.mux(packet)
    for packet in stream.encode():
        file.mux(packet)
places, pts, dts = [], [], []
with av.open(sys.argv[1]) as file:
    for frame in file.decode(video=0):
        gray = frame.to_ndarray(format="gray")
        places.append(float(np.nonzero(gray > 128)[1].mean()))
        pts.append(frame.pts)
        dts.append(frame.dts)
shown = all(a < b for a, b in zip(places, places[1:]))
backward = sum(a is not None and b is not None and b <= a for a, b in zip(pts, pts[1:]))
known = [one for one in dts if one is not None]
print("the ball moves forward in every frame:", shown)
print("pts:", pts[:12], f"... {backward} of {len(pts) - 1} steps go backward")
print("dts:", dts[:12])
raise SystemExit(not (shown and backward > 0 and known == sorted(known)))
PYTHON
