"""Reading legacy torch.save files, which the tests write opcode by opcode, without PyTorch."""

import pickle
import zipfile

import numpy as np
import pytest

from tfxai.models import torch_file

MAGIC = 0x1950A86A20F9469CFC6C
MACHINE = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
DTYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
}
NUMBERS = np.arange(6, dtype=np.float32)


def plain(value):
    """Pickle a plain value without the start and the stop, to put between other opcodes."""
    return pickle.dumps(value, 2)[2:-1]


def whole(opcodes):
    return b"\x80\x02" + opcodes + b"."


def made_by(module, name, *arguments):
    """Look up a class or function and call it: GLOBAL, MARK, arguments, TUPLE, REDUCE."""
    return f"c{module}\n{name}\n(".encode() + b"".join(map(plain, arguments)) + b"tR"


def tensor(key="0", *, kind="FloatStorage", offset=0, shape=(6,), strides=(1,)):
    storage = b"(" + plain("storage") + f"ctorch\n{kind}\n".encode()
    storage += plain(key) + plain("cpu") + plain(6) + b"NtQ"
    rest = b"".join(map(plain, (offset, shape, strides, False)))
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + rest + b"NtR"


def state_dict(entries):
    items = b"".join(plain(name) + opcodes for name, opcodes in entries.items())
    return whole(b"ccollections\nOrderedDict\n)R(" + items + b"u")


def storage(values, count=None):
    return (values.size if count is None else count).to_bytes(8, "little") + values.tobytes()


def stream(entries, storages=None):
    """Give the five pickles and the raw numbers."""
    storages = {"0": NUMBERS} if storages is None else storages
    head = [pickle.dumps(MAGIC, 2), pickle.dumps(1001, 2), pickle.dumps(MACHINE, 2)]
    keys = pickle.dumps(list(storages), 2)
    return [*head, state_dict(entries), keys, *map(storage, storages.values())]


@pytest.fixture
def file(tmp_path):
    def write(*parts):
        path = tmp_path / "weights.pth"
        path.write_bytes(b"".join(parts))
        return path

    return write


def test_tensors_are_read_by_name_in_order(file):
    entries = {"b.weight": tensor("1", shape=(2, 3), strides=(3, 1)), "a.bias": tensor("0")}
    read = torch_file.read(file(*stream(entries, {"0": NUMBERS, "1": NUMBERS + 10})))
    assert list(read) == ["b.weight", "a.bias"]
    np.testing.assert_array_equal(read["b.weight"], (NUMBERS + 10).reshape(2, 3))
    np.testing.assert_array_equal(read["a.bias"], NUMBERS)


@pytest.mark.parametrize("kind", DTYPES)
def test_every_known_storage_type_is_read(kind, file):
    values = np.array([3, 1, 4, 1, 5, 9], DTYPES[kind])
    read = torch_file.read(file(*stream({"x": tensor(kind=kind)}, {"0": values})))["x"]
    assert read.dtype == values.dtype
    np.testing.assert_array_equal(read, values)


def test_a_transposed_tensor_is_read_as_it_was_seen(file):
    read = torch_file.read(file(*stream({"x": tensor(shape=(3, 2), strides=(1, 3))})))["x"]
    np.testing.assert_array_equal(read, NUMBERS.reshape(2, 3).T)


def test_tensors_may_share_a_storage(file):
    views = {
        "tail": tensor(offset=4, shape=(2,)),
        "column": tensor(offset=1, shape=(2,), strides=(3,)),
        "scalar": tensor(offset=5, shape=(), strides=()),
        "expanded": tensor(offset=2, shape=(2, 2), strides=(0, 0)),
    }
    read = torch_file.read(file(*stream(views)))
    assert {k: v.tolist() for k, v in read.items()} == {
        "tail": [4, 5],
        "column": [1, 4],
        "scalar": 5,
        "expanded": [[2, 2], [2, 2]],
    }


def test_what_is_read_can_be_written_to(file):
    read = torch_file.read(file(*stream({"x": tensor(), "y": tensor()})))
    read["x"][:] = 7
    np.testing.assert_array_equal(read["y"], NUMBERS)


@pytest.mark.parametrize(
    ("shape", "strides"), [((0,), (1,)), ((0, 3), (3, 1)), ((3, 0), (1, 1)), ((5, 0), (1, 1))]
)
def test_an_empty_tensor_is_read(shape, strides, file):
    parts = stream({"x": tensor(shape=shape, strides=strides)}, {"0": NUMBERS[:0]})
    assert torch_file.read(file(*parts))["x"].shape == shape


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize(
    ("module", "name"), [("os", "system"), ("posix", "system"), ("subprocess", "getoutput")]
)
def test_a_command_in_any_of_the_pickles_is_refused_and_not_run(module, name, place, file):
    parts = stream({"x": tensor()})
    path = file(b"")
    ran = path.with_name("ran")
    parts[place] = whole(made_by(module, name, f"touch {ran}"))
    with pytest.raises(ValueError, match=rf"weights\.pth.*refused to build {module}\.{name}"):
        torch_file.read(file(*parts))
    assert not ran.exists()


@pytest.mark.parametrize(
    "name",
    [
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("collections", "namedtuple"),
        ("collections", "OrderedDict.fromkeys"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_tensor"),
        ("numpy", "FloatStorage"),
    ],
)
def test_anything_but_tensors_and_ordered_dicts_is_refused(name, file):
    parts = stream({"x": tensor(), "y": made_by(*name, "1")})
    with pytest.raises(ValueError, match="refused to build " + ".".join(name)):
        torch_file.read(file(*parts))


@pytest.mark.parametrize("kind", ["ByteStorage", "UntypedStorage", "cuda.FloatStorage"])
def test_an_unknown_storage_type_is_refused(kind, file):
    with pytest.raises(ValueError, match=f"refused .*{kind}"):
        torch_file.read(file(*stream({"x": tensor(kind=kind)})))


def test_a_storage_type_that_is_only_text_is_refused(file):
    opcodes = tensor().replace(b"ctorch\nFloatStorage\n", plain("QuantizedStorage"))
    with pytest.raises(ValueError, match="refused a storage of type QuantizedStorage"):
        torch_file.read(file(*stream({"x": opcodes})))


@pytest.mark.parametrize(
    "reaching",
    [
        {"offset": 1},
        {"shape": (7,)},
        {"strides": (2,)},
        {"shape": (3, 3), "strides": (2, 1), "offset": 1},
        {"offset": 6, "shape": (), "strides": ()},
        {"offset": -1},
        {"offset": 5, "strides": (-1,)},
        {"shape": (-1,)},
        {"shape": (2, 3)},
        {"shape": (1,), "strides": (2**70,)},
    ],
)
def test_a_tensor_reaching_beyond_its_storage_is_refused(reaching, file):
    with pytest.raises(ValueError, match=r"weights\.pth"):
        torch_file.read(file(*stream({"x": tensor(**reaching)})))


def test_a_tensor_without_a_storage_is_refused(file):
    with pytest.raises(ValueError, match=r"weights\.pth"):
        torch_file.read(file(*stream({"x": tensor("1")})))


def test_a_file_cut_anywhere_is_refused(file):
    content = b"".join(stream({"x": tensor(), "y": tensor(shape=(2, 3), strides=(3, 1))}))
    for length in range(len(content)):
        with pytest.raises(ValueError, match=r"weights\.pth"):
            torch_file.read(file(content[:length]))


@pytest.mark.parametrize("count", [7, 2**40, 2**61, 2**63, 2**64 - 1])
def test_a_storage_longer_than_the_file_is_refused(count, file):
    parts = stream({"x": tensor()})[:-1]
    with pytest.raises(ValueError, match=r"weights\.pth"):
        torch_file.read(file(*parts, storage(NUMBERS, count)))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello\n",
        b"\x00" * 100,
        b"\xff" * 100,
        pickle.dumps(OSError("not a state dict")),
        pickle.dumps({"x": 1}),
        pickle.dumps(MAGIC, 2) + pickle.dumps(1002, 2),
    ],
)
def test_another_kind_of_file_is_refused(content, file):
    with pytest.raises(ValueError, match=r"weights\.pth"):
        torch_file.read(file(content))


def test_a_zip_file_of_a_newer_pytorch_is_refused(tmp_path):
    path = tmp_path / "weights.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", state_dict({"x": tensor()}))
        archive.writestr("archive/data/0", NUMBERS.tobytes())
    with pytest.raises(ValueError, match=r"weights\.pth"):
        torch_file.read(path)


@pytest.mark.parametrize("value", [b"K\x01", plain("text"), plain([1.0]), b"N"])
def test_an_entry_that_is_no_tensor_is_refused(value, file):
    with pytest.raises(ValueError, match=r"weights\.pth"):
        torch_file.read(file(*stream({"x": tensor(), "epoch": value})))


def test_a_tensor_outside_of_a_state_dict_is_refused(file):
    parts = stream({})
    parts[3] = whole(tensor())
    with pytest.raises(ValueError, match="not a state dict"):
        torch_file.read(file(*parts))


def test_a_missing_file_is_reported_as_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        torch_file.read(tmp_path / "nothing.pth")
