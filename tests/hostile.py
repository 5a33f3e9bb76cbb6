"""Files that mean harm, by name: each is written by a function of its own, with ``run`` as the code it wants run."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

Make = Callable[[Path], None]


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _programs(run: str) -> dict[str, bytes]:
    """Pickles that call ``os.system(run)``, or would through what they name; one for every instruction that calls."""
    arg = _text(run)
    system = b"cposix\nsystem\n"
    return {
        "reduce": b"\x80\x02" + system + arg + b"\x85R.",
        "reduce-4": b"\x80\x04\x8c\x05posix\x8c\x06system\x93" + arg + b"\x85R.",
        "inst": b"\x80\x02(" + b"S" + repr(run).encode() + b"\niposix\nsystem\n.",
        "obj": b"\x80\x02(" + system + arg + b"o.",
        "newobj": b"\x80\x02" + system + arg + b"\x85\x81.",
        "newobj-ex": b"\x80\x04" + system + arg + b"\x85}\x92.",
        "build": b"\x80\x02ccollections\nOrderedDict\n)R}" + _text("__setstate__") + system + b"sb" + arg + b"b.",
        "slots": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}" + _text("__defaults__") + arg + b"\x85s\x86b.",
        "extension": b"\x80\x02\x82\xf0" + arg + b"\x85R.",
        "extension-2": b"\x80\x02\x83\xf0\x00" + arg + b"\x85R.",
        "extension-4": b"\x80\x02\x84\xf0\x00\x00\x00" + arg + b"\x85R.",
        "eval": b"\x80\x02cbuiltins\neval\n" + _text(f"__import__('os').system({run!r})") + b"\x85R.",
        "old-builtins": b"\x80\x02c__builtin__\nexec\n" + _text(f"import os; os.system({run!r})") + b"\x85R.",
        "dotted": b"\x80\x04\x8c\x13torch.serialization\x8c\x09os.system\x93" + arg + b"\x85R.",
        "getattr": b"\x80\x02cbuiltins\ngetattr\ncos\nsystem\n" + _text("__call__") + b"\x86R" + arg + b"\x85R.",
        "nested-loads": b"\x80\x02c_pickle\nloads\nC\x02N.\x85R.",
        "load-from-bytes": b"\x80\x02ctorch.storage\n_load_from_bytes\nC\x02N.\x85R.",
        "typed": b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(" + system + b"NX\x01\0\0\0a\x85NtR.",
        "runpy": b"\x80\x02crunpy\n_run_code\n" + arg + b"}\x86R.",
        "subprocess": b"\x80\x02csubprocess\nPopen\n" + arg + b"\x85R.",
        "partial": b"\x80\x02cfunctools\npartial\n" + system + arg + b"\x86R)R.",
        "module": b"\x80\x02cevil\nthing\n.",
    }


def _bombs() -> dict[str, bytes]:
    """Pickles that take all memory or all time."""
    nest = b"\x80\x04)\x94" + b"".join(b"h" + bytes([k]) + b"h" + bytes([k]) + b"\x86\x94" for k in range(120))
    return {
        "memo": b"\x80\x02N" + b"r\xff\xff\xff\x7f" + b".",
        "dictionaries": b"\x80\x02(" + b"}" * 2_000_000 + b"l.",
        "hash": nest + b"}hxNs0N.",
        "frozenset": nest + b"(hx\x91.",
        "bytearray": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
        "long": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"\xff" * 500_000 + b".",
        "digits": b"\x80\x02I" + b"9" * 100_000 + b"\n.",
        "text": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"a.",
        "frame": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",
        "marks": b"\x80\x02" + b"(" * 1_000_000 + b".",
    }


def _archive(content: bytes, name: str = "m/data.pkl", **more: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, content)
        archive.writestr("m/version", "3\n")
        for key, value in more.items():
            archive.writestr(f"m/data/{key}", value)
    return out.getvalue()


def _tensor(shape: str, stride: str, numbers: int, offset: str = "K\x00") -> bytes:
    """A pickled tensor; numbers and tuples in the machine's own words."""
    storage = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0" + b"0X\3\0\0\0cpu" + b"\x8a\x08"
    storage += struct.pack("<q", numbers) + b"tQ"
    tail = (
        offset.encode("latin-1")
        + shape.encode("latin-1")
        + stride.encode("latin-1")
        + b"\x89ccollections\nOrderedDict\n)R"
    )
    return b"\x80\x02}X\1\0\0\0wctorch._utils\n_rebuild_tensor_v2\n(" + storage + tail + b"tRs."


def pickles(run: str) -> dict[str, Make]:
    """PyTorch checkpoints: as archives, as bare pickles, and as the stream of old."""
    out: dict[str, Make] = {}
    old = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
    for name, program in {**_programs(run), **_bombs()}.items():
        for form, content in (("zip.ckpt", _archive(program)), ("bare.pt", program), ("old.ckpt", old + program)):
            out[f"{name}-{form}"] = lambda path, content=content: path.write_bytes(content)
    hostile = _programs(run)["reduce"]
    data = b"\0" * 16
    for name, content in {
        "nested-zip": _archive(_archive(hostile)),
        "root": _archive(hostile, "data.pkl"),
        "deep": _archive(hostile, "m/m/data.pkl"),
        "huge-shape": _archive(_tensor("\x8a\x06" + "\xff" * 5 + "\x7f\x85", "K\x01\x85", 4), **{"0": data}),
        "no-strides": _archive(_tensor("\x8a\x05\0\0\0\0\x01\x85", "K\0\x85", 4), **{"0": data}),
        "negative-shape": _archive(_tensor("\x8a\x01\xff\x85", "K\x01\x85", 4), **{"0": data}),
        "negative-offset": _archive(_tensor("K\x04\x85", "K\x01\x85", 4, "\x8a\x01\xff"), **{"0": data}),
        "far-offset": _archive(_tensor("K\x04\x85", "K\x01\x85", 4, "K\xff"), **{"0": data}),
        "huge-storage": _archive(_tensor("K\x04\x85", "K\x01\x85", 2**40), **{"0": data}),
        "no-storage": _archive(_tensor("K\x04\x85", "K\x01\x85", 4)),
        "names": _archive(pickle.dumps({"../../etc/passwd": 1, "\x1b[2J\nrm": 2}, 2)),
        "cut-directory": _archive(hostile)[:-30],
        "many-members": _many_members(),
        "zip-bomb": _deflated(b"\0" * 2**26),
    }.items():
        out[f"{name}.ckpt"] = lambda path, content=content: path.write_bytes(content)
    return out


def _deflated(content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", content)
    return out.getvalue()


def _many_members() -> bytes:
    """An archive whose directory claims a million files."""
    entry = struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    directory = entry * 200_000
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 65535, 65535, len(directory), 4, 0)
    return b"PK\x03\x04" + directory + end


def _safetensors(header: object, data: bytes = b"\0" * 64, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _one(dtype: object = "F32", shape: object = (4,), offsets: object = (0, 16)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def safetensors() -> dict[str, Make]:
    """safetensors files whose headers lie."""
    files = {
        "huge-length": _safetensors({}, length=2**63 - 1),
        "long-length": _safetensors({}, length=2**20),
        "huge-header": _safetensors(b" " * 17_000_000 + b"{}"),
        "beyond": _safetensors({"a": _one(offsets=(0, 2**40))}),
        "negative": _safetensors({"a": _one(offsets=(-16, 0))}),
        "backwards": _safetensors({"a": _one(offsets=(16, 0))}),
        "overlap": _safetensors({"a": _one(), "b": _one(offsets=(8, 24))}),
        "hole": _safetensors({"a": _one(), "b": _one(offsets=(32, 48))}),
        "negative-shape": _safetensors({"a": _one(shape=(-4,))}),
        "overflow": _safetensors({"a": _one(shape=(2**62, 2**62), offsets=(0, 0))}),
        "wrong-size": _safetensors({"a": _one(shape=(5,))}),
        "wrong-type": _safetensors({"a": _one(dtype="F999")}),
        "no-object": _safetensors([1, 2]),
        "not-json": _safetensors(b"{" * 1000),
        "deep": _safetensors(b"[" * 1_000_000),
        "not-text": _safetensors(b"\xff\xfe" * 100),
        "numbers": _safetensors({"__metadata__": {"a": 1}, "a": _one()}),
        "many": _safetensors({f"t{k}": _one(shape=(0,), offsets=(0, 0)) for k in range(60_000)}, b""),
        "more": _safetensors({f"t{k}": _one(shape=(0,), offsets=(0, 0)) for k in range(300_000)}, b""),
        "paths": _safetensors(
            {"../../../etc/passwd": _one(), "C:\\evil\x1b[2J\nname": _one(offsets=(16, 32))}, b"\0" * 32
        ),
    }
    return {f"{n}.safetensors": lambda path, content=content: path.write_bytes(content) for n, content in files.items()}


def _string(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def _gguf(tensors: int, entries: int, rest: bytes, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, entries) + rest


def _info(name: str = "a", shape: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0) -> bytes:
    sides = b"".join(struct.pack("<Q", side % 2**64) for side in shape)
    return _string(name) + struct.pack("<I", len(shape)) + sides + struct.pack("<IQ", kind, offset % 2**64)


def gguf() -> dict[str, Make]:
    """GGUF files whose headers lie."""
    data = b"\0" * 4096
    key = _string("k")
    alignment = _string("general.alignment") + struct.pack("<I", 4)
    shape = _string("comfy.gguf.orig_shape.a") + struct.pack("<IIQ", 9, 5, 2) + struct.pack("<ii", -4, -8)
    files = {
        "tensors": _gguf(10**9, 0, data),
        "most-tensors": _gguf(2**64 - 1, 0, data),
        "entries": _gguf(0, 2**63, data),
        "long-name": _gguf(1, 0, struct.pack("<Q", 2**62) + data),
        "key": _gguf(0, 1, struct.pack("<Q", 2**63) + data),
        "array": _gguf(0, 1, key + struct.pack("<IIQ", 9, 4, 2**62) + data),
        "strings": _gguf(0, 1, key + struct.pack("<IIQ", 9, 8, 400_000) + b"\0" * 3_200_000),
        "nested": _gguf(0, 1, key + struct.pack("<IIQ", 9, 9, 1) + struct.pack("<IQ", 9, 1) * 1000),
        "value": _gguf(0, 1, key + struct.pack("<I", 99) + data),
        "version": _gguf(0, 0, b"", 9),
        "dimensions": _gguf(1, 0, _string("a") + struct.pack("<I", 2**32 - 1) + data),
        "shape": _gguf(1, 0, _info(shape=(2**62, 2**62)) + data),
        "negative": _gguf(1, 0, _info(shape=(-32,)) + data),
        "empty-side": _gguf(1, 0, _info(shape=(0, 32)) + data),
        "type": _gguf(1, 0, _info(kind=99) + data),
        "blocks": _gguf(1, 0, _info(shape=(33,), kind=2) + data),
        "beyond": _gguf(1, 0, _info(offset=2**40) + data),
        "far": _gguf(1, 0, _info(offset=-32) + data),
        "overlap": _gguf(2, 0, _info("a") + _info("b", offset=64) + data),
        "twice": _gguf(2, 0, _info("a") + _info("a", offset=128) + data),
        "alignment-0": _gguf(1, 1, alignment + struct.pack("<I", 0) + _info() + data),
        "alignment-3": _gguf(1, 1, alignment + struct.pack("<I", 3) + _info() + data),
        "own-shape": _gguf(1, 1, shape + _info() + data),
        "header": _gguf(0, 1, key + struct.pack("<I", 8) + struct.pack("<Q", 17_000_000) + b"a" * 17_000_000),
        "paths": _gguf(1, 0, _info("../../etc/passwd\x1b[2J\n") + data),
    }
    return {f"{n}.gguf": lambda path, content=content: path.write_bytes(content) for n, content in files.items()}


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "model_index.json").write_text("[" * 100_000)


def strange() -> dict[str, Make]:
    """What is no model file at all, under a model file's name."""
    return {
        "empty.safetensors": lambda path: path.touch(),
        "empty.ckpt": lambda path: path.touch(),
        "empty.gguf": lambda path: path.touch(),
        "short.gguf": lambda path: path.write_bytes(b"GGUF"),
        "folder.safetensors": lambda path: path.mkdir(),
        "deep-folder.ckpt": _folder,
        "pipe.safetensors": lambda path: os.mkfifo(path),
        "pipe.gguf": lambda path: os.mkfifo(path),
        "zero.ckpt": lambda path: path.symlink_to("/dev/zero"),
        "loop.gguf": lambda path: path.symlink_to(path),
        "gguf.safetensors": lambda path: path.write_bytes(_gguf(10**9, 0, b"")),
        "zip.safetensors": lambda path: path.write_bytes(_archive(b"N.")),
        "web.safetensors": lambda path: path.write_text("<!DOCTYPE html><title>404</title>"),
        "web.gguf": lambda path: path.write_text("<!DOCTYPE html><title>404</title>"),
        "picture.ckpt": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 500),
        "zeros.safetensors": lambda path: path.write_bytes(b"\0" * 100_000),
    }


def everything(run: str) -> dict[str, Make]:
    """All of them, by the names that their files should have."""
    return {
        **pickles(run),
        **{f"st-{n}": m for n, m in safetensors().items()},
        **{f"gg-{n}": m for n, m in gguf().items()},
        **strange(),
    }
