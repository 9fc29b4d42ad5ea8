"""Which cases of a test `make test` runs, and which ones only `make test-all`."""

import pytest


def quick(cases, *chosen):
    """Give all cases as parameters: those that are not among the chosen ones are thorough.

    A case of several parameters is a tuple.
    """
    missing = [case for case in chosen if case not in cases]
    assert not missing, f"no such cases: {missing}"

    def parameters(case):
        marks = [] if case in chosen else [pytest.mark.thorough]
        return pytest.param(*(case if isinstance(case, tuple) else [case]), marks=marks)

    return [parameters(case) for case in cases]
