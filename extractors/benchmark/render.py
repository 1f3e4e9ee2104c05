"""Renders a video for the benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np

_GRAINS = 8

_GRAIN_SIZE = 8.0

_SCENE_S = 4.0


def render_video(
    path: Path, *, seconds: float, width: int = 640, height: int = 360, fps: int = 30, seed: int = 0
) -> Path:
    """Render a video as hard to decode as a filmed one: moving shades, a moving box, grain, a cut every 4 s; H.264.

    Args:
        path: where to; the suffix chooses the container.
        seconds: length.
        width, height: pixels, both even.
        fps: frames per second.
        seed: another one gives other scenes.
    """
    import av

    random = np.random.default_rng(seed)
    grain = random.normal(0, _GRAIN_SIZE, (_GRAINS, height, width)).astype(np.int16)
    shades = np.rint(126 + 90 * np.sin(np.arange(256) * 2 * np.pi / 256)).astype(np.int16)
    columns, rows = np.arange(width), np.arange(height)[:, None]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "veryfast", "crf": "26"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(max(round(seconds * fps), 1)):
            scene = np.random.default_rng((seed, int(index / fps / _SCENE_S)))
            across, down, speed = scene.uniform(0.05, 0.4), scene.uniform(0.05, 0.4), scene.uniform(20, 80)
            phase = speed * index / fps
            ramp = (across * columns + phase).astype(np.uint8) + (down * rows).astype(np.uint8)  # wraps round
            luma = shades[ramp] + grain[index % _GRAINS]
            left = int(2 * phase) % (width - width // 6)
            luma[height // 3 : height // 2, left : left + width // 6] += 40
            planes = np.empty((height * 3 // 2, width), np.uint8)
            planes[:height] = np.clip(luma, 16, 235)
            planes[height:] = scene.integers(90, 166, (height // 2, 1))
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
