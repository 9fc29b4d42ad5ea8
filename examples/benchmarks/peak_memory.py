"""Peak memory of integrated gradients (64 steps) on EfficientNet-Lite0 for 1, 8 and 32 images.

Each count runs in a fresh process; what loading the model and one prediction took is subtracted.
"""

import resource
import subprocess
import sys
import time

import numpy as np

COUNTS = (1, 8, 32)


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(count, how):
    import tfxai
    from tfxai import zoo

    model = zoo.load("efficientnet-lite0").model
    images = np.random.default_rng(0).uniform(-1, 1, (count, 224, 224, 3)).astype("float32")
    model(images[:1])
    before = peak_mib()
    explainer = tfxai.integrated_gradients(model, steps=64)
    start = time.perf_counter()
    if how == "explain":
        explainer.explain(images, 0, verbose=0)
    else:
        explainer(images, 0)
    seconds = (time.perf_counter() - start) / count
    print(f"| {count} | {how} | {peak_mib() - before:.0f} | {peak_mib():.0f} | {seconds:.1f} |")


def main():
    if len(sys.argv) == 3:
        measure(int(sys.argv[1]), sys.argv[2])
        return
    print("| images | called by | MiB above the loaded model | MiB in all | seconds an image |")
    print("|---|---|---|---|---|")
    for count in COUNTS:
        for how in ("explain", "call"):
            subprocess.run([sys.executable, __file__, str(count), how], check=True)


if __name__ == "__main__":
    main()
