from __future__ import annotations

import inspect
import subprocess
import sys

import model


def test_dir_lists_the_public_names() -> None:
    assert [name for name in dir(model) if not name.startswith("_")] == sorted(model.__all__)
    assert {"__doc__", "__file__", "__name__"} <= set(dir(model))


def test_every_public_name_is_a_class() -> None:
    assert all(inspect.isclass(getattr(model, name)) for name in model.__all__)


def test_dir_imports_nothing_heavy() -> None:
    program = (
        "import sys, model; assert 'Grounder' in dir(model); assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
