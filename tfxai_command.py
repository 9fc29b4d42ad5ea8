"""The command ``tfxai``: it stands outside the package, whose import starts TensorFlow."""

import os


def main() -> None:
    """Switch on oneDNN, unless the environment says otherwise, and run the command line.

    TensorFlow reads the variable when it is imported, and leaves oneDNN off by itself on CPUs
    without AVX512, where gradients are up to twice as fast with it.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    from tfxai.cli.main import main as command_line

    command_line()
