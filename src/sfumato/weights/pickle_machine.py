"""The small machine that reads a pickle without running anything.

A pickle is a program. Here the machine is Python's own, with every instruction left out that could reach code: names
stand for harmless stand-ins or end the reading, states are dropped, keys are plain, and steps are counted.
"""

from __future__ import annotations

import gc
import math
import pickle
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from sfumato.weights.header import TensorInfo

#: Instructions in one pickle; the largest models have 100,000.
MAX_STEPS = 500_000
_DIMENSIONS = 8
_LONGEST = 16
_STORAGES = {"Float": "F32", "Double": "F64", "Half": "F16", "BFloat16": "BF16", "Long": "I64", "Int": "I32",
             "Short": "I16", "Char": "I8", "Byte": "U8", "Bool": "BOOL", "Untyped": "U8", "ComplexFloat": "C64",
             "ComplexDouble": "C128"}  # fmt: skip
_DTYPES = {"float32": "F32", "float64": "F64", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
           "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL", "float8_e4m3fn": "F8_E4M3",
           "float8_e5m2": "F8_E5M2", "uint16": "U16", "uint32": "U32", "uint64": "U64"}  # fmt: skip
#: Names that trainers leave beside the weights; they become None.
_LEFT_OVER = {
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype", "_codecs.encode",
    "numpy.dtypes.Float64DType", "numpy.dtypes.Float32DType", "numpy.dtypes.Int64DType", "numpy.dtypes.Int32DType",
    "torch.Size", "torch.device", "torch.serialization._get_layout", "builtins.set", "__builtin__.set",
    "builtins.complex",
}  # fmt: skip


@dataclass(frozen=True)
class _Kind:
    """A storage's or a tensor's type."""

    dtype: str


@dataclass(frozen=True)
class _Storage:
    dtype: str
    key: str
    numbers: int


class RefusedError(ValueError):
    """The file wants to run code; the message names what."""


class _Ordered(dict[Any, Any]):
    """What collections.OrderedDict and its like are here."""

    def __init__(self, pairs: Any = ()) -> None:
        super().__init__(_plain_pairs(pairs))


def _plain_pairs(pairs: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in pairs.items() if isinstance(pairs, dict) else pairs:
        yield _plain_key(key), value


def _plain_key(key: Any) -> Any:
    """Nested tuples as keys take for ever to hash."""
    if key is not None and type(key) not in (str, int, float, bool, bytes, _Call):
        raise ValueError(f"a key is a {type(key).__name__}")
    return key


class Machine(pickle._Unpickler):  # pyright: ignore[reportAttributeAccessIssue]
    """Python's own reader of pickles, with what can reach code taken out."""

    def __init__(self, file: BinaryIO, room: Callable[[str], int], claimed: dict[str, int] | None = None) -> None:
        """``room``: how many bytes there are under a storage's key; ``claimed``: to note how many it claims."""
        super().__init__(file, encoding="latin-1")
        self._room, self._claimed = room, {} if claimed is None else claimed
        self.dispatch: Any = _Budget(_INSTRUCTIONS)  # pyright: ignore[reportIncompatibleVariableOverride]

    def load(self) -> Any:
        """What the pickle builds.

        Meanwhile no garbage is collected: a program of half a million lists would have the whole process searched at
        every few hundred of them.
        """
        collects = gc.isenabled()
        gc.disable()
        try:
            return super().load()
        finally:
            if collects:
                gc.enable()

    def persistent_load(self, pid: Any) -> _Storage:
        """``("storage", type, key, device, numbers)``, with a sixth, a view, in old files."""
        what, kind, key, _, numbers = pid[:5]
        if what != "storage" or not isinstance(kind, _Kind) or not isinstance(key, str) or not _is_count(numbers):
            raise ValueError("a storage is described in a way that is not known")
        self._claimed[key] = TensorInfo(kind.dtype, (numbers,)).bytes
        if self._claimed[key] > self._room(key):
            raise ValueError(f"storage {key!r} claims {numbers} numbers, more than there are")
        return _Storage(kind.dtype, key, numbers)

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in for what trainers' files may name.

        Raises:
            RefusedError: anything else.
        """
        whole, kind = f"{module}.{name}", name.removesuffix("Storage")
        if module in ("torch", "torch.storage") and kind != name and kind in _STORAGES:
            return _Kind(_STORAGES[kind])
        if module == "torch" and name in _DTYPES:
            return _Kind(_DTYPES[name])
        if whole in _LEFT_OVER:
            return _Call(lambda *given: None)
        if whole not in _CALLS:
            raise RefusedError(whole)
        return _Call(_CALLS[whole])

    def put_items(self, target: Any, items: list[Any]) -> None:
        """Keys and values by turns."""
        if isinstance(target, dict):
            target.update((_plain_key(items[k]), items[k + 1]) for k in range(0, len(items), 2))


class _Budget:
    """The table of instructions; it ends a program that takes too many steps or asks for one that is not in it."""

    def __init__(self, table: Mapping[int, Callable[[Any], None]]) -> None:
        self._table, self._left = table, MAX_STEPS

    def __getitem__(self, code: int) -> Callable[[Any], None]:
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"its pickle takes more than {MAX_STEPS} steps")
        if code not in self._table:
            raise RefusedError(f"the pickle instruction {code:#04x}")
        return self._table[code]


def _inst(machine: Any) -> None:
    module, name = (machine.readline()[:-1].decode("ascii") for _ in range(2))
    machine.append(machine.find_class(module, name)(*machine.pop_mark()))


def _call(machine: Any) -> None:
    given = machine.stack.pop()
    function = machine.stack[-1]
    if not isinstance(function, _Call) or not isinstance(given, tuple):
        raise RefusedError(f"a {type(function).__name__}")
    machine.stack[-1] = function(*given)


def _build(machine: Any) -> None:
    machine.stack.pop()


def _set_item(machine: Any) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.put_items(machine.stack[-1], [key, value])


def _set_items(machine: Any) -> None:
    items = machine.pop_mark()
    machine.put_items(machine.stack[-1], items)


def _dict(machine: Any) -> None:
    items = machine.pop_mark()
    machine.append({})
    machine.put_items(machine.stack[-1], items)


def _append(machine: Any) -> None:
    _extend(machine, [machine.stack.pop()])


def _appends(machine: Any) -> None:
    _extend(machine, machine.pop_mark())


def _extend(machine: Any, items: list[Any]) -> None:
    if isinstance(machine.stack[-1], list):
        machine.stack[-1].extend(items)


def _long(machine: Any) -> None:
    (length,) = struct.unpack("<i", machine.read(4))
    if not 0 <= length <= _LONGEST:
        raise ValueError(f"it has a number of {length} bytes")
    machine.append(int.from_bytes(machine.read(length), "little", signed=True))


#: Python's own, for numbers, texts, tuples, lists, the stack, the memory and names; ours for all that calls or stores.
_OWN = (
    "MARK STOP POP POP_MARK DUP NONE INT BININT BININT1 BININT2 LONG LONG1 FLOAT BINFLOAT STRING BINSTRING "
    "SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 TUPLE "
    "TUPLE1 TUPLE2 TUPLE3 EMPTY_TUPLE EMPTY_LIST EMPTY_DICT LIST GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT "
    "MEMOIZE NEWTRUE NEWFALSE PROTO FRAME GLOBAL STACK_GLOBAL BINPERSID"
)
_OURS: dict[str, Callable[[Any], None]] = {
    "INST": _inst, "REDUCE": _call, "NEWOBJ": _call, "BUILD": _build, "SETITEM": _set_item, "SETITEMS": _set_items,
    "DICT": _dict, "APPEND": _append, "APPENDS": _appends, "LONG4": _long,
}  # fmt: skip


def _instructions() -> dict[int, Callable[[Any], None]]:
    stock = pickle._Unpickler.dispatch  # pyright: ignore[reportAttributeAccessIssue]
    codes = {name: getattr(pickle, name)[0] for name in (*_OWN.split(), *_OURS)}
    return {code: _OURS[name] if name in _OURS else stock[code] for name, code in codes.items()}


_INSTRUCTIONS = _instructions()


@dataclass(frozen=True)
class _Call:
    """The only thing that an instruction of a pickle can call."""

    function: Callable[..., Any]

    def __call__(self, *given: Any) -> Any:
        return self.function(*given)


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *rest: Any) -> TensorInfo:
    if not isinstance(storage, _Storage) or not isinstance(shape, tuple) or not isinstance(stride, tuple):
        raise ValueError("a tensor is described in a way that is not known")  # noqa: TRY004 - of the file's content
    if not all(map(_is_count, (offset, *shape, *stride))) or len(shape) != len(stride) or len(shape) > _DIMENSIONS:
        raise ValueError(f"a tensor has the shape {shape!r} and the strides {stride!r}")
    reach = sum((side - 1) * step for side, step in zip(shape, stride, strict=True)) + 1 if 0 not in shape else 0
    if offset + reach > storage.numbers or math.prod(shape) > storage.numbers:
        raise ValueError(f"a tensor of shape {shape} is larger than its {storage.numbers} numbers")
    return TensorInfo(storage.dtype, shape)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**48


def _same(value: Any, *rest: Any) -> Any:
    return value


def _typed(function: Any, kind: Any, given: Any, *state: Any) -> Any:
    if not isinstance(function, _Call) or not isinstance(given, tuple):
        raise ValueError("a tensor is described in a way that is not known")  # noqa: TRY004 - of the file's content
    return function(*given)


_CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _Ordered,
    "collections.Counter": _Ordered,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor,
    "torch._utils._rebuild_parameter": _same,
    "torch._utils._rebuild_parameter_with_state": _same,
    "torch.nn.parameter.Parameter": _same,
    "torch.Tensor": _same,
    "torch._tensor._rebuild_from_type_v2": _typed,
}
