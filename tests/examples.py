"""The scripts in examples/, as modules."""

import importlib.util
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "examples"


def script(path):
    """The script at a path below examples/, without its .py."""
    name = Path(path).name
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{path}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
