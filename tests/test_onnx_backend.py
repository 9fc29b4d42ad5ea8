"""ONNX's own test cases of single operations: what the importer takes is right."""

import warnings

import pytest

from tests.onnx_backend import END, PAGE, START, cases, outcome, written
from tests.thorough import quick


@pytest.fixture(scope="module")
def known():
    with warnings.catch_warnings():  # some cases divide by 0 on purpose
        warnings.simplefilter("ignore")
        return list(cases().values())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", quick(range(8), 3))
def test_no_case_is_wrong_or_ends_in_an_error_of_another_kind(part, known):
    outcomes = [outcome(case) for case in known[part::8]]
    assert not [item for item in outcomes if item.state in ("wrong", "crashed")]
    assert sum(item.state == "passed" for item in outcomes) > 50


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
def test_the_page_has_the_table_of_this_version(known):
    _, table = PAGE.read_text().split(START)
    assert table.split(END)[0].strip() == written([outcome(case) for case in known])
