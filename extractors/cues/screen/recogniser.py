"""Lines of text in a picture, by the PP-OCR networks inside the package rapidocr.

Source: Cui et al., "PaddleOCR 3.0 Technical Report", 2025; the networks are under Apache-2.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.cues.cleaning import plain_text
from extractors.errors import WeightsMissing
from extractors.subprocesses.cores import usable_cores
from extractors.weights.packaged import packaged_bytes

_PACKAGE = "rapidocr"
_DETECTION = (
    "models/PP-OCRv6_det_small.onnx",
    "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
)
_RECOGNITION = (
    "models/PP-OCRv6_rec_small.onnx",
    "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
)
WEIGHTS_ID = f"PP-OCRv6-small:{_DETECTION[1][:8]}-{_RECOGNITION[1][:8]}"
"""Identity of the networks: part of the recipe of what they read."""

_LEAST_CONFIDENCE = 0.6
_LEAST_OF_SHORT = 0.9  # of less than four letters: textures look like short words
_LONGEST_LINE = 300
_MOST_LINES = 200  # of a picture; a page of a newspaper has fewer


@dataclass(frozen=True)
class TextLine:
    """A line of text in a picture.

    Attributes:
        text: plain text on one line.
        confidence: in [0, 1].
        left, top, right, bottom: where it is, in parts of the width and height of the picture.
    """

    text: str
    confidence: float
    left: float
    top: float
    right: float
    bottom: float


def require_recogniser() -> None:
    """Raise WeightsMissing if the package is not installed; nothing is loaded."""
    if find_spec(_PACKAGE) is None:
        raise WeightsMissing(
            "text on the screen is read by rapidocr, which is not installed: pip install 'vtg[ocr]'"
        )


class Recogniser:
    """Reads lines of text. Nothing is ever downloaded.

    Raises:
        WeightsMissing: if the package or a network of it is not installed.
        WeightsInvalid: if a network is not the pinned one.
    """

    def __init__(self) -> None:
        require_recogniser()
        for network in (_DETECTION, _RECOGNITION):
            packaged_bytes(_PACKAGE, *network)
        from rapidocr import RapidOCR

        spec = find_spec(_PACKAGE)
        assert spec is not None
        folder = Path(next(iter(spec.submodule_search_locations or ())))
        # With the files named, the package does not look for others on the network.
        parameters = {
            "Global.log_level": "critical",
            "Global.use_cls": False,
            "Det.model_path": str(folder / _DETECTION[0]),
            "Rec.model_path": str(folder / _RECOGNITION[0]),
            "EngineConfig.onnxruntime.intra_op_num_threads": usable_cores(),
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
        self._engine: Any = RapidOCR(params=parameters)

    def read(self, picture: NDArray[np.uint8]) -> list[TextLine]:
        """The lines of a (height, width, 3) RGB picture, from top to bottom."""
        found = self._engine(np.ascontiguousarray(picture[..., ::-1]))  # it reads BGR
        if found.txts is None or found.boxes is None:
            return []
        height, width = picture.shape[:2]
        lines = []
        for raw, confidence, box in zip(found.txts, found.scores, found.boxes, strict=True):
            text = " ".join(plain_text(raw).split())[:_LONGEST_LINE]
            if not _is_reading(text, float(confidence)):
                continue
            (left, top), (right, bottom) = np.min(box, axis=0), np.max(box, axis=0)
            lines.append(
                TextLine(
                    text,
                    min(float(confidence), 1.0),
                    float(left / width),
                    float(top / height),
                    float(right / width),
                    float(bottom / height),
                )
            )
        return lines[:_MOST_LINES]


def _is_reading(text: str, confidence: float) -> bool:
    """Whether a text is likely to be on the screen; a letter alone, or one that repeats itself, is a texture."""
    letters = [letter for letter in text.casefold() if letter.isalnum()]
    if len(letters) < 2 or (len(set(letters)) == 1 and not letters[0].isdigit()):
        return False
    return confidence >= (_LEAST_OF_SHORT if len(letters) < 4 else _LEAST_CONFIDENCE)
