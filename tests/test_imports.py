"""Imports point down only (DESIGN 3), and private Keras API stays in graph.py."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "tfxai"
LAYERS = [
    {"types", "converted_layers", "synonyms"},
    {"axes", "diagnostics", "named_inputs"},
    {
        "batch",
        "bridges",
        "checks",
        "data",
        "converters",
        "folders",
        "graph_axes",
        "grouped",
        "interpolation",
        "quadrature",
        "scores",
        "served_inputs",
        "torch_file",
        "plot",
        "patterns",
        "settings",
        "tracing",
        "waiting",
    },
    {"baseline_functions"},
    {
        "aggregators",
        "baselines",
        "kernels",
        "efficientnet_lite",
        "explanation",
        "graph",
        "line_search",
        "masks",
        "replicas",
        "upsampling",
    },
    {"samplers", "heads"},
    {"inspection"},
    {"estimate", "metrics"},
    {"path", "rules", "sampling", "perturbation", "total_gradient"},
    {"runner", "neurons", "hessian", "mask_descent", "preprocessing"},
    {"recording"},
    {"explainer", "fitting", "proximal"},
    {"methods", "benchmark", "served_functions"},
    {"serving"},
    {"callbacks", "scale"},
    {"__init__"},
    {"zoo"},
    {"cli_terminal"},
    {"demonstration", "cli_arguments", "cli_models", "cli_explaining"},
    {"cli_command", "cli_ranking"},
    {"cli_writing"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FILES = sorted(ROOT.rglob("*.py"))


def module_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_modules(path):
    """The tfxai modules that a file imports, by their first name below tfxai."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "tfxai":
            names = [alias.name for alias in node.names]
            yield from (n if n in LEVEL else "__init__" for n in names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tfxai."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from ("__init__" for alias in node.names if alias.name == "tfxai")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
    own = module_of(path)
    for other in imported_modules(path):
        same_room = own == other and own in (
            "benchmark",
            "converters",
            "hessian",
            "methods",
            "metrics",
            "rules",
            "scale",
        )
        assert same_room or LEVEL[other] < LEVEL[own], f"{own} imports {other}"


def test_every_module_has_its_level():
    assert {module_of(path) for path in FILES} == set(LEVEL)


def test_converters_know_nothing_of_the_rest():
    for path in (ROOT / "converters").rglob("*.py"):
        assert set(imported_modules(path)) <= {"converters", "converted_layers"}


def test_plot_knows_nothing_of_tensorflow():
    text = (ROOT / "plot.py").read_text()
    assert "tensorflow" not in text
    assert "keras" not in text


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_private_keras_api_stays_in_graph(path):
    private = (
        "keras.src",
        "_keras_history",
        "_inputs_struct",
        "_run_through_graph",
        "_flatten_layers",
    )
    if path.name != "graph.py":
        assert not [name for name in private if name in path.read_text()]
