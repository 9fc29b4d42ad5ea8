"""Examples in docstrings print what every machine prints."""

import ast
import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(p for room in ("tfxai", "converters") for p in (ROOT / room).rglob("*.py"))
ZERO = r"(?<![\d.])-?0\.(?!\d)"


def examples(path):
    """The lines of a file's examples, with what they print."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, documented) and ast.get_docstring(node):
            for example in doctest.DocTestParser().get_examples(ast.get_docstring(node)):
                yield example.source.strip(), example.want


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_examples_print_no_sign_of_zero_and_no_last_digit(path):
    for source, printed in examples(path):
        assert not re.search(r"\d[eE]-?\d", printed), source
        if ".numpy()" in source and re.search(r"\d\.", printed):
            assert ".round(" in source, f"{source}: round what it prints"
            assert "+ 0.0" in source or not re.search(ZERO, printed), f"{source}: -0. on others"
