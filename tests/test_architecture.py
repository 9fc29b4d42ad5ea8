"""The example of a new method in docs/architecture.md runs as it stands there."""

import doctest
import inspect
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"
METHOD, TESTS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def example():
    """The names of both listings."""
    names = {"__name__": "tfxai.methods.gradients.saliency"}
    exec(METHOD, names)
    exec(TESTS, names)
    return names


@pytest.mark.parametrize("name", re.findall(r"def (test_\w+)", TESTS))
def test_the_example_passes_its_tests(name, example, request):
    arguments = inspect.signature(example[name]).parameters
    example[name](*map(request.getfixturevalue, arguments))


def test_the_docstring_of_the_example_runs(example):
    method = example["saliency"]
    (found,) = doctest.DocTestFinder().find(method, "saliency", globs=example, module=False)
    assert found.examples
    assert doctest.DocTestRunner().run(found).failed == 0


@pytest.mark.parametrize("page", ["architecture.md", "methods.md"])
def test_every_file_that_is_named_exists(page):
    root = PAGE.parents[1]
    for name in re.findall(r"`(\w+/[\w/]+\.py)`", PAGE.with_name(page).read_text()):
        places = [root / name, root / "tfxai" / name, root / "tests" / name]
        assert any(place.exists() for place in places) or name.endswith("saliency.py"), name
