"""Write the small files in tests/onnx_files: every net by both exporters.

python tests/exports/make_files.py
"""

from pathlib import Path

import onnx
from export import IN_FILES, SMALL, export, small

FOLDER = Path(__file__).parents[1] / "onnx_files"
STATIC = {"vgg19", "mobilenet_v2", "densenet"}
"""Their batch has one image, as both exporters have it unless told otherwise."""
OPSETS = {"resnet50": 9, "mobilenet_v3": 11, "shufflenet": 13, "inception_v3": 16}
"""For the legacy exporter, beside its default."""


def store(path, *, apart):
    """Write a file anew, without the stack traces that dynamo puts in, its weights in it or not."""
    model = onnx.load(path)
    path.with_name(f"{path.name}.data").unlink(missing_ok=True)
    del model.metadata_props[:]
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    options = {"save_as_external_data": True, "location": f"{path.name}.data"} if apart else {}
    onnx.save(model, path, **options)


def main():
    FOLDER.mkdir(exist_ok=True)
    for name in (*SMALL, *IN_FILES):
        net, example = small(name)
        for dynamo in (True, False):
            path = FOLDER / f"{name}_{'dynamo' if dynamo else 'legacy'}.onnx"
            opset = None if dynamo else OPSETS.get(name)
            dynamic = name not in STATIC
            given = example if dynamic else example[:1]
            export(net, given, path, dynamo=dynamo, dynamic=dynamic, opset=opset)
            store(path, apart=name == "resnet18" and dynamo)
            print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
