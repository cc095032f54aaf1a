"""Pickles from strangers: plain data comes back as from `pickle.loads`, all else is refused and not run."""

from __future__ import annotations

import contextlib
import copyreg
import io
import os
import pickle
import pickletools
import struct
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any, Literal

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cifar.errors import DataError
from cifar.safe_pickle.reader import load_plain

PLAIN = (type(None), bool, int, float, str, bytes, bytearray, list, tuple, dict, np.ndarray, np.dtype)
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def load(data: bytes) -> Any:
    return load_plain(io.BytesIO(data))


def assert_refused(data: bytes, match: str = "pickle") -> None:
    with pytest.raises(DataError, match=match):
        load(data)


def assert_plain_or_refused(data: bytes) -> None:
    value: object = None
    with contextlib.suppress(DataError):
        value = load(data)
    waiting = [value]
    while waiting:
        item = waiting.pop()
        assert type(item) in PLAIN
        if isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        if isinstance(item, list | tuple):
            waiting += item


def global_(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def short_bytes(value: bytes) -> bytes:
    return b"C" + bytes([len(value)]) + value


def dtype(
    name: str, *, state: bytes = b"(K\x03X\x01\x00\x00\x00|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
) -> bytes:
    return global_("numpy", "dtype") + text(name) + b"\x89\x88\x87R" + state


def array(shape: bytes, dtype_: bytes, data: bytes) -> bytes:
    """A pickled array; `shape`, `dtype_` and `data` are opcodes."""
    shell = global_("numpy.core.multiarray", "_reconstruct") + global_("numpy", "ndarray") + b"K\x00\x85"
    return b"\x80\x03" + shell + short_bytes(b"b") + b"\x87R(K\x01" + shape + dtype_ + b"\x89" + data + b"tb."


# What must load.

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=20)
)
KEYS = st.text(max_size=8) | st.binary(max_size=8) | st.integers(-(2**63), 2**63)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=5) | st.lists(inner, max_size=5).map(tuple) | st.dictionaries(KEYS, inner, max_size=5)
    ),
    max_leaves=20,
)
DTYPES = (
    hnp.boolean_dtypes()
    | hnp.integer_dtypes(endianness="?")
    | hnp.unsigned_integer_dtypes(endianness="?")
    | hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64))
    | hnp.complex_number_dtypes(endianness="?", sizes=(64, 128))
    | hnp.byte_string_dtypes(min_len=1)
    | hnp.unicode_string_dtypes(endianness="?", min_len=1)
)
ARRAYS = DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_side=4)))


def same_array(ours: Any, original: Any) -> bool:
    return (
        type(ours) is np.ndarray
        and ours.dtype == original.dtype
        and ours.shape == original.shape
        and ours.tobytes() == original.tobytes()
        and bool(ours.flags.writeable)
    )


@given(VALUES, st.sampled_from(PROTOCOLS))
def test_plain_values_load_as_pickle_loads_them(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    ours = load(data)
    assert ours == pickle.loads(data)
    assert repr(ours) == repr(pickle.loads(data))  # True is not 1


@given(ARRAYS, st.sampled_from(PROTOCOLS), st.sampled_from("CFT"))
def test_arrays_load_as_pickle_loads_them(values: Any, protocol: int, order: Literal["C", "F", "T"]) -> None:
    values = values.T if order == "T" else np.asarray(values, order=order)
    data = pickle.dumps(values, protocol)
    assert same_array(load(data), values)
    assert load(data).tolist() == pickle.loads(data).tolist() or "nan" in repr(values)  # numpy may swap bytes


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("axes", [(1, 0, 2), (2, 0, 1), (0, 2, 1)])
def test_transposed_arrays(protocol: int, axes: tuple[int, ...]) -> None:
    values = np.arange(24, dtype=">i2").reshape(2, 3, 4).transpose(axes)
    assert same_array(load(pickle.dumps(values, protocol)), values)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numpy_scalars_become_python_values(protocol: int) -> None:
    values = [np.int64(-3), np.uint8(7), np.float32(0.5), np.bool_(True), np.str_("7ä"), np.bytes_(b"x")]
    loaded = load(pickle.dumps(values, protocol))
    assert loaded == [-3, 7, 0.5, True, "7ä", b"x"]
    assert [type(value) for value in loaded] == [int, int, float, bool, str, bytes]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_shared_arrays_stay_shared(protocol: int) -> None:
    one = np.arange(3)
    first, second = load(pickle.dumps([one, one], protocol))
    assert first is second
    assert first.tolist() == [0, 1, 2]


PYTHON_2_ARRAY = (
    b"cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87Rq\x05"
    b"(K\x01K\x02K\x03\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07"
    b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x06\x00\x01\x80\xfe\xff\x7ftb"
)


def test_python_2_batch_has_bytes_keys() -> None:
    """Opcode for opcode the form of the official data_batch_1: protocol 2 of Python 2's cPickle."""
    data = (
        b"\x80\x02}q\x01(U\x04dataq\x02" + PYTHON_2_ARRAY + b"U\x06labelsq\x08]q\t(K\x06K\te"
        b"U\x0bbatch_labelq\nU\x15training batch 1 of 5q\x0bu."
    )
    loaded = load(data)
    assert list(loaded) == [b"data", b"labels", b"batch_label"]
    assert loaded[b"data"].tolist() == [[0, 1, 128], [254, 255, 127]]
    assert loaded[b"labels"] == [6, 9]
    assert loaded[b"batch_label"] == b"training batch 1 of 5"


def test_python_2_text_of_protocol_0() -> None:
    assert load(b"(dp0\nS'da\\x80\\n\\''\np1\nL5L\nsI01\n0.") == {b"da\x80\n'": 5}


def test_a_python_2_pickle_equals_pickle_loads() -> None:
    data = b"\x80\x02" + PYTHON_2_ARRAY + b"."
    assert same_array(load(data), pickle.loads(data, encoding="bytes"))


# What must be refused, and must not have run.


@pytest.fixture
def sentinel(tmp_path: Path) -> str:
    return str(tmp_path / "executed")


def run_by(kind: str, sentinel: str) -> bytes:
    """Handmade pickles that create the file `sentinel` when pickle.loads runs them."""
    mkdir = global_("os", "mkdir")
    os_name = os.mkdir.__module__  # posix or nt
    argument = text(sentinel)
    evaluated = text(f"__import__('os').mkdir({sentinel!r})")
    return {
        "reduce": mkdir + argument + b"\x85R.",
        "reduce, protocol 4": b"\x80\x04" + text("os") + text("mkdir") + b"\x93" + argument + b"\x85R.",
        "reduce posix": global_(os_name, "mkdir") + argument + b"\x85R.",
        "system": global_("os", "system") + text(f"mkdir {sentinel}") + b"\x85R.",
        "inst": b"(" + argument + b"ios\nmkdir\n.",
        "obj": b"(" + mkdir + argument + b"o.",
        "newobj": b"\x80\x02" + mkdir + argument + b"\x85\x81.",
        "newobj_ex": b"\x80\x04" + mkdir + argument + b"\x85}\x92.",
        "eval": global_("builtins", "eval") + evaluated + b"\x85R.",
        "eval, python 2 name": global_("__builtin__", "eval") + evaluated + b"\x85R.",
        "getattr": global_("builtins", "getattr") + global_("os", "path") + text("os") + b"\x86R.",
        "in a dict": b"}" + text("data") + mkdir + argument + b"\x85Rs.",
        "popped": mkdir + argument + b"\x85R0N.",
        "memo": mkdir + b"q\x000h\x00" + argument + b"\x85R.",
        "numpy helper": global_("numpy.testing._private.utils", "runstring") + evaluated + b"}\x86R.",
        "dotted": b"\x80\x04" + text("cifar.kaggle.safe_pickle") + text("io.os.mkdir") + b"\x93" + argument + b"\x85R.",
        "nested pickle": global_("pickle", "loads") + short_bytes(mkdir + b".") + b"\x85R.",
        "numpy nested pickle": global_("numpy.core.multiarray", "_load_from_filelike") + argument + b"\x85R.",
        "array of another class": global_("numpy.core.multiarray", "_reconstruct") + mkdir + b"K\x00\x85\x87R.",
        "build dict": global_("numpy", "ndarray") + b"}" + text("mkdir") + mkdir + b"sb.",
    }[kind]


KINDS = [
    *("reduce", "reduce, protocol 4", "reduce posix", "system", "inst", "obj", "newobj", "newobj_ex"),
    *("eval", "eval, python 2 name", "getattr", "in a dict", "popped", "memo", "numpy helper", "dotted"),
    *("nested pickle", "numpy nested pickle", "array of another class", "build dict"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_executed(kind: str, sentinel: str) -> None:
    assert_refused(run_by(kind, sentinel), "may hold only")
    assert not os.path.exists(sentinel)


@pytest.mark.parametrize("kind", ["reduce", "inst", "obj", "eval", "in a dict", "popped", "memo"])
def test_the_attacks_are_real(kind: str, sentinel: str) -> None:
    """Python's own unpickler does run them."""
    pickle.loads(run_by(kind, sentinel))
    assert os.path.exists(sentinel)


def test_the_forbidden_global_is_named() -> None:
    assert_refused(global_("os", "system") + text("true") + b"\x85R.", r"the global os\.system")


def test_the_forbidden_opcode_is_named() -> None:
    assert_refused(b"(ios\nsystem\n.", r"the opcode INST os\.system\.")
    assert_refused(b"Psome id\n.", r"the opcode PERSID some id\.")
    assert_refused(b"\x80\x04\x8f.", r"the opcode EMPTY_SET\.")


def test_escapes_in_names_are_not_replaced() -> None:
    assert_refused(global_("numpy", r"n\x64array") + b".", "the global")
    assert_refused(global_("numpy", r"\user") + b".", "the global")
    assert_refused(b"cnumpy\nndarray", "whole and well formed")


def test_names_from_the_file_cannot_control_the_terminal() -> None:
    with pytest.raises(DataError) as error:
        load(b"\x80\x04" + text("\x1b[2J\n" * 500) + text("x") + b"\x93.")
    assert "\x1b" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "value",
    [
        OrderedDict(a=1),
        {1, 2},
        frozenset({1}),
        Path("x"),
        DataError,
        np.array([1, "a"], dtype=object),
        np.zeros(2, dtype=[("a", "i4"), ("b", "f4")]),
        np.zeros(2, dtype="V8"),
        np.zeros(2, dtype="M8[s]"),
        np.datetime64(1, "D"),
        np.ma.masked_array([1, 2], [True, False]),
        np.dtype("u1"),
        np.ndarray,
        slice(1, 2),
        range(3),
        2**70,
        {(1, 2): 3},
        {None: 3},
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_types_are_refused(value: object, protocol: int) -> None:
    assert_refused(pickle.dumps(value, protocol), "may hold only")


BUILT = global_("numpy.core.multiarray", "_reconstruct") + global_("numpy", "ndarray") + b"K\x00\x85"


@pytest.mark.parametrize(
    "data",
    [
        b"Pan id\n.",
        b"\x80\x02K\x05Q.",
        b"\x80\x02\x82\x01.",
        b"\x80\x02\x83\x01\x00.",
        b"\x80\x02\x84\x01\x00\x00\x00.",
        b"\x80\x05\x97.",
        b"\x80\x05\x97\x98.",
        b"\x80\x04\x8f.",
        b"\x80\x04(K\x01\x91.",
        global_("copyreg", "_reconstructor") + global_("builtins", "list") + b"N\x86R.",
        global_("copy_reg", "_reconstructor") + b".",
        b"\x80\x04K\x05K\x06\x93.",
        b"\x80\x04)" + text("x") + b"\x93.",
        global_("numpy", "ndarray") + b".",
        global_("numpy", "ndarray") + b"K\x05\x85R.",
        b"]" + global_("numpy", "dtype") + b"a.",
        text("call me") + b")R.",
        global_("numpy", "dtype") + b"NR.",
        b"}}b.",
        b"]}" + text("__class__") + b"Nsb.",
        BUILT + short_bytes(b"b") + b"\x87R}" + text("__class__") + global_("numpy", "ndarray") + b"sb.",
        BUILT + short_bytes(b"b") + b"\x87R.",
        BUILT + short_bytes(b"b") + b"\x87R\x85.",
        b"NK\x01a.",
        b"}K\x01a.",
        b"]K\x01K\x02s.",
        global_("numpy", "ndarray") + b"(K\x01e.",
        b"}]K\x01s.",
        dtype("O") + b".",
        dtype("u1", state=b"") + b".",
        dtype("u1,u1") + b".",
        dtype("(2,)u1") + b".",
        global_("_codecs", "encode") + text("x") + text("rot13") + b"\x86R.",
        global_("numpy.core.multiarray", "scalar") + dtype("O") + short_bytes(b"\x00" * 8) + b"\x86R.",
        global_("numpy.core.multiarray", "scalar") + b"N" + short_bytes(b"\x00") + b"\x86R.",
    ],
    ids=repr,
)
def test_other_opcodes_and_tricks_are_refused(data: bytes) -> None:
    assert_refused(data)


def test_extension_registry_is_not_consulted() -> None:
    copyreg.add_extension("os", "mkdir", 0xF0)
    try:
        assert_refused(b"\x80\x02\x82\xf0.", "the opcode EXT1")
    finally:
        copyreg.remove_extension("os", "mkdir", 0xF0)


SHAPE_2 = b"K\x02\x85"
HUGE_SHAPE = b"\x8a\x06" + (10**12).to_bytes(6, "little") + b"\x85"


@pytest.mark.parametrize(
    ("shape", "dtype_", "data"),
    [
        (SHAPE_2, dtype("O"), b"]"),
        (SHAPE_2, dtype("O8"), short_bytes(b"\x01" * 16)),
        (SHAPE_2, dtype("u1"), b"](K\x01K\x02e"),
        (SHAPE_2, dtype("u1"), short_bytes(b"abc")),
        (SHAPE_2, dtype("u1"), short_bytes(b"a")),
        (SHAPE_2, dtype("u1"), text("ab")),
        (SHAPE_2, dtype("u1"), b"N"),
        (SHAPE_2, dtype("u2"), short_bytes(b"abcd")),
        (SHAPE_2, dtype("S0"), short_bytes(b"")),
        (SHAPE_2, global_("numpy", "dtype"), short_bytes(b"ab")),
        (SHAPE_2, b"N", short_bytes(b"ab")),
        (HUGE_SHAPE, dtype("u1"), short_bytes(b"ab")),
        (HUGE_SHAPE, dtype("S0"), short_bytes(b"")),
        (b"K\x00\x8a\x06" + (10**12).to_bytes(6, "little") + b"\x86", dtype("u1"), short_bytes(b"")),
        (b"J\xff\xff\xff\xffJ\xfe\xff\xff\xff\x86", dtype("u1"), short_bytes(b"ab")),
        (b"K\x02", dtype("u1"), short_bytes(b"ab")),
        (b"]K\x02a", dtype("u1"), short_bytes(b"ab")),
        (b"G?\xf0\x00\x00\x00\x00\x00\x00\x85", dtype("u1"), short_bytes(b"a")),
        (b"(" + b"K\x01" * 65 + b"t", dtype("u1"), short_bytes(b"a")),
        (
            b"K\x01\x85",
            dtype("U1", state=b"(K\x03X\x01\x00\x00\x00<NNNK\x04K\x04K\x08tb"),
            short_bytes(b"\xff\xff\xff\xff"),
        ),
    ],
)
def test_impossible_arrays_are_refused(shape: bytes, dtype_: bytes, data: bytes) -> None:
    assert_refused(array(shape, dtype_, data))


def test_the_handmade_array_is_otherwise_good() -> None:
    assert load(array(SHAPE_2, dtype("u1"), short_bytes(b"ab"))).tolist() == [97, 98]


def allocated_by_refusing(data: bytes) -> int:
    """Peak bytes that Python and numpy allocate."""
    tracemalloc.start()
    try:
        assert_refused(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


MANY_VIEWS = (
    b"\x80\x03"
    + b"".join([b"B", struct.pack("<I", 100_000), bytes(100_000), b"q\x000", dtype("u1"), b"q\x010]("])
    + (global_("numpy.core.numeric", "_frombuffer") + b"(h\x00h\x01J\xa0\x86\x01\x00\x85" + text("C") + b"tR") * 1000
    + b"e."
)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x03B\xff\xff\xff\x7fabc.",
        b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"abc.",
        b"\x80\x04\x8e" + struct.pack("<Q", 2**63) + b"abc.",
        b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"abc.",
        b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"abc.",
        b"\x80\x02\x8b\xff\xff\xff\x7fabc.",
        b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"N",
        b"Nr\xff\xff\xff\xff" + b"0.",
        BUILT.replace(b"K\x00\x85", HUGE_SHAPE) + short_bytes(b"b") + b"\x87R.",
        dtype("S999999999") + b".",
        MANY_VIEWS,
    ],
    ids=range(11),
)
def test_a_small_pickle_cannot_fill_the_memory(data: bytes) -> None:
    assert allocated_by_refusing(data) < 2_000_000 + 8 * len(data)


@pytest.mark.parametrize(
    "data",
    [b"]q\x00h\x00a.", b"}q\x00K\x01h\x00s.", b"](]q\x01h\x01ah\x01e.", b"]q\x00h\x00\x85a."],
)
def test_what_contains_itself_is_refused(data: bytes) -> None:
    pickle.loads(data)
    assert_refused(data, "contains itself")


def test_deep_nesting_ends() -> None:
    depth = 200_000
    value = load(b"]" * depth + b"a" * (depth - 1) + b".")
    for _ in range(depth - 1):
        value = value[0]
    assert value == []
    assert_refused(b"}" + b")" + b"\x85" * depth + b"Ns.", "dict key")
    assert_refused(array(b")" + b"\x85" * depth, dtype("u1"), short_bytes(b"a")))


def test_sharing_is_no_bomb() -> None:
    """Each list holds the one before ten times: 10**40 leaves if they were copied or walked one by one."""
    data = b"]q\x000" + b"".join(b"](" + bytes([0x68, i]) * 10 + b"e" + bytes([0x71, i + 1]) + b"0" for i in range(40))
    assert len(load(data + b"h(.")) == 10


GOOD = pickle.dumps({b"data": np.arange(12, dtype=np.uint8).reshape(3, 4), b"ids": [1, 2.5, "x"]}, 4)


@pytest.mark.parametrize("end", range(len(GOOD)))
def test_truncated(end: int) -> None:
    assert_refused(GOOD[:end])


@pytest.mark.parametrize(
    "data", [b"", b"garbage", b"\x80\x06N.", b"\x80\x04.", b"NN.", b"(N.", b"\x80\x04\xff.", GOOD + b"x"]
)
def test_garbage(data: bytes) -> None:
    assert_refused(data, "whole and well formed")


@pytest.mark.parametrize(
    "data", [b"S'abc\n.", b"Sabc\n.", b"S'\\q'\n.", b"S'\n.", b"Iten\n.", b"Fx\n.", b"L9x\n.", b"g1\n."]
)
def test_garbage_arguments(data: bytes) -> None:
    assert_refused(data, "whole and well formed")


@given(st.data(), st.sampled_from(PROTOCOLS))
@settings(max_examples=300)
def test_changed_bytes_give_plain_data_or_an_error(data: st.DataObject, protocol: int) -> None:
    changed = bytearray(pickle.dumps({b"data": np.arange(6, dtype="<i2"), "ids": ["a", (1, None)]}, protocol))
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    assert_plain_or_refused(bytes(changed))


@given(st.lists(st.sampled_from([code.code.encode("latin-1") for code in pickletools.opcodes]), max_size=30))
@settings(max_examples=300)
def test_any_row_of_opcodes_gives_plain_data_or_an_error(codes: list[bytes]) -> None:
    assert_plain_or_refused(b"".join(codes) + b".")
