"""The networks of the other tests."""

from tests.conftest import _fixed_seed, cnn, images  # noqa: F401
