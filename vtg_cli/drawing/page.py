"""What the pages that are written to a file share: they fetch nothing, and what comes from outside is text in them.

Queries and names of files are never markup, and by its own policy a page runs one script only.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
from collections.abc import Mapping
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from vtg_cli.terminal.console import one_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SUFFIXES = (".html", ".htm")
"""Endings of the files that can be written."""

FROM_FILE = "'self' file:"
"""Where a page may get a video from that lies beside it."""

_IMPORT = re.compile(r'^import \{[^}]*\} from "\./(\w+\.js)";\n', re.MULTILINE)


def filled(
    template: str, *, script: str, styles: tuple[str, ...], media: str, values: Mapping[str, str]
) -> str:
    """A page: a template with its places filled.

    Args:
        template: name of the file.
        script: name of the module that it runs.
        styles: names of its style sheets.
        media: where it may get videos from, in the words of a policy.
        values: what stands in the other places, as HTML.
    """
    code, style = bundle(script), "".join(map(asset, styles))
    policy = (
        f"default-src 'none'; script-src {_hash(code)}; style-src {_hash(style)}; img-src data:; "
        f"media-src {media}; base-uri 'none'; form-action 'none'"
    )
    all_values = {**values, "policy": policy, "style": style, "script": code}
    # In one go, so that what is put in is not looked through for more places.
    return re.sub(r"\{\{(\w+)\}\}", lambda place: all_values[place[1]], asset(template))


def asset(name: str) -> str:
    """A file of the report, or one that it shares with the page of `vtg serve`."""
    folders = resources.files(__package__), resources.files("vtg_cli.serve") / "static"
    file = next(folder / name for folder in folders if (folder / name).is_file())
    return file.read_text(encoding="utf-8")


def bundle(name: str) -> str:
    """One script of a module and those that it imports by name, each before it is used; they share one scope."""
    modules: dict[str, str] = {}

    def add(name: str) -> None:
        if name not in modules:
            text = asset(name)
            for needed in _IMPORT.findall(text):
                add(needed)
            modules[name] = re.sub("^export ", "", _IMPORT.sub("", text), flags=re.MULTILINE)

    add(name)
    return "\n".join(modules.values())


def _hash(text: str) -> str:
    """What a policy calls the one script or style that it allows."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def text_in_page(text: str) -> str:
    """A text from outside, on one line, in a form that is no markup."""
    return escape(one_line(text))


def json_in_page(value: object) -> str:
    """JSON in a form that cannot end the element it stands in."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def address_of(video: Path, report: Path) -> str:
    """Where the video lies, as seen from the report."""
    try:
        # Not with links resolved: browsers go up and down by the names in the address.
        relative = Path(os.path.relpath(video, report.parent))
    except ValueError:  # on another drive
        return video.resolve().as_uri()
    # With the folder named, a colon in a file's name does not look like the end of a scheme.
    return "./" + quote(os.fsencode(relative.as_posix()))


def jpeg(picture: NDArray[np.uint8]) -> str:
    """The address of a picture (H, W, 3) that is inside of the page."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
