"""The house's rules: rooms import downwards, and private Keras API stays in one file."""

import ast
import re
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {"tfxai": ROOT / "tfxai", "tfxai.converters": ROOT / "converters"}


def modules():
    """Module name -> file, of all that is shipped."""
    found = {}
    for name, folder in SOURCES.items():
        for path in sorted(folder.rglob("*.py")):
            inside = path.relative_to(folder).with_suffix("").parts
            inside = inside[:-1] if inside[-1] == "__init__" else inside
            found[".".join((name, *inside))] = path
    return found


MODULES = modules()
PACKAGES = sorted(name for name, path in MODULES.items() if path.name == "__init__.py")


def room(module):
    """The folder of a module, a family's of a method; a public module at the top is its own."""
    parts = module.split(".")
    return ".".join(parts[1 : 3 if parts[1:2] == ["methods"] else 2]) or "tfxai"


def imported(module):
    """The modules of ours that a module imports, within its functions too."""
    path = MODULES[module]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package[: len(package) - node.level + 1]
                base = ".".join([*above, *filter(None, [base])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield full if full in MODULES else base
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def imports_of_ours(module):
    return {name for name in imported(module) if name in MODULES and name != module}


def order(edges):
    """The nodes with what they import before them; raises CycleError where there is no order."""
    return list(TopologicalSorter(edges).static_order())


def imports_of_rooms():
    edges = {}
    for module in MODULES:
        others = {room(name) for name in imports_of_ours(module)} - {room(module)}
        edges.setdefault(room(module), set()).update(others)
    return edges


def reached(edges):
    """All that each node imports, directly or through others."""
    below = {}
    for node in order(edges):
        direct = edges.get(node, set())
        below[node] = direct.union(*(below[other] for other in direct))
    return below


def test_rooms_import_downwards():
    edges = imports_of_rooms()
    order(edges)
    assert not edges["core"]


def test_the_picture_of_the_rooms_is_true():
    """Its arrows, followed, lead where the imports lead; none follows from others."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    drawn = {}
    for line in re.search(r"```mermaid\n.*?\n(.*?)```", page, re.DOTALL)[1].splitlines():
        above, _, below = re.sub(r"\[.*?\]|\(\[.*?\]\)", "", line).partition("-->")
        drawn.setdefault(above.strip(), set()).update(name.strip() for name in below.split("&"))
    edges = imports_of_rooms()
    del edges["methods"]  # an empty room that holds the families
    edges = {
        name.removeprefix("methods."): {other.removeprefix("methods.") for other in others}
        for name, others in edges.items()
    }
    below = reached(drawn)
    assert below == reached(edges)
    for above, others in drawn.items():
        for other in others:
            shorter = [name for name in others - {other} if other in below[name]]
            assert not shorter, f"{above} --> {other} follows from {above} --> {shorter}"


def test_files_import_downwards_within_a_room():
    order({module: imports_of_ours(module) for module in MODULES})


def test_converters_know_nothing_of_the_rest():
    for module in MODULES:
        if room(module) == "converters":
            others = {name for name in imports_of_ours(module) if room(name) != "converters"}
            assert others <= {"tfxai.models.converted_layers"}


def test_plot_knows_nothing_of_tensorflow():
    files = [path for module, path in MODULES.items() if room(module) == "plot"]
    assert files
    for path in files:
        assert "tensorflow" not in path.read_text()
        assert "keras" not in path.read_text()


@pytest.mark.parametrize("module", MODULES)
def test_private_keras_api_stays_in_one_file(module):
    private = (
        "keras.src",
        "_keras_history",
        "_inputs_struct",
        "_run_through_graph",
        "_flatten_layers",
    )
    if module != "tfxai.models.keras_graph":
        assert not [name for name in private if name in MODULES[module].read_text()]


def test_every_package_is_shipped():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert setuptools["packages"] == PACKAGES
    moved = setuptools["package-dir"]
    assert moved == {
        name: str(MODULES[name].parent.relative_to(ROOT))
        for name in PACKAGES
        if name.startswith("tfxai.converters")
    }
