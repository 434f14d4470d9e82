"""The one decorator for compiled kernels, and where their machine code is kept.

numba keeps compiled code by the file of a function alone and does not notice when a function that it calls, or a
constant, changes in another file. So the folder's name here carries a digest of a kernel's module and of all modules of
this package that it imports. The folder is beside the package where that can be written (a checkout, an image at
build), else in the user's cache, else nowhere: kernels are then compiled in each process, and importing still works.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numba
import numpy as np
from numba.core import config as numba_config
from numba.core import types as _types

_PACKAGE = Path(__file__).parent
_IMPORT = re.compile(r"^\s*from (apss_fusion[\w.]*) import (\([^)]*\)|.*)|^\s*import (apss_fusion[\w.]*)", re.MULTILINE)
numba_types: Any = _types
_F = TypeVar("_F", bound=Callable[..., Any])

#: A whole number in a kernel: the type of rows and counts, whatever it is made from.
whole: Any = np.int64
#: One row of a structured array, or a named tuple of arrays: kernels read its fields as attributes.
Row: TypeAlias = Any


def kernel(function: _F) -> _F:
    """Compile a function of numbers and arrays on its first call; keep the machine code between processes."""
    return _compile(function)


def lean_kernel(function: _F) -> _F:
    """A :func:`kernel` that makes no array, and calls only such ones: compiled without reference counts.

    Passing its arrays on costs nothing then, which halves the time of a step that works on forty of them.
    """
    return _compile(function, _nrt=False)


def inline_kernel(function: _F) -> _F:
    """A small :func:`kernel` that is copied into the kernels that call it."""
    return _compile(function, inline="always")


def _compile(function: Any, **options: Any) -> Any:
    # Division by zero gives inf or nan, as in numpy: kernels check their inputs, not every division.
    options["error_model"] = "numpy"
    folder = _folder(function.__module__)
    if folder is None:
        return _plain(numba.njit(**options)(function))
    before, numba_config.CACHE_DIR = numba_config.CACHE_DIR, str(folder)
    try:
        return _plain(numba.njit(cache=True, **options)(function))
    finally:
        numba_config.CACHE_DIR = before


def _plain(dispatcher: Any) -> Any:
    """Let calls from other kernels use one version for all numbers of a kind: int64, float64.

    Without this, numba compiles a function anew for every constant and every width of an argument.
    """
    resolve = dispatcher.get_call_template

    def get_call_template(args: Any, kws: dict[str, Any]) -> Any:
        return resolve(tuple(map(_plain_type, args)), {k: _plain_type(t) for k, t in kws.items()})

    dispatcher.get_call_template = get_call_template
    return dispatcher


def _plain_type(t: Any) -> Any:
    t = numba_types.unliteral(t)
    if isinstance(t, numba_types.Integer) and t.signed:
        return numba_types.int64
    return numba_types.float64 if isinstance(t, numba_types.Float) else t


@cache
def _folder(module: str) -> Path | None:
    base = _base()
    if base is None:
        return None
    digest = hashlib.sha256(numba.__version__.encode())
    for name in sorted(_dependencies(module)):
        digest.update(_source(name).read_bytes())
    folder = base / f"{module.removeprefix('apss_fusion.')}-{digest.hexdigest()[:16]}"
    if not folder.is_dir():
        for old in base.glob(f"{module.removeprefix('apss_fusion.')}-*"):
            shutil.rmtree(old, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@cache
def _base() -> Path | None:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path(os.path.expanduser("~")) / ".cache")
    for base in (_PACKAGE / "__pycache__" / "kernels", home / "apss-fusion" / "kernels"):
        try:
            base.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=base):
                return base
        except OSError:
            continue
    return None


def _source(module: str) -> Path:
    if not module.startswith("apss_fusion"):
        return Path(getattr(sys.modules.get(module), "__file__", None) or module)
    path = _PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _dependencies(module: str) -> set[str]:
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name not in seen and _source(name).is_file():
            seen.add(name)
            for package, names, plain in _IMPORT.findall(_source(name).read_text(encoding="utf-8")):
                # A name may be a module too; those that are not have no file and are passed over.
                todo += [plain] if plain else [package, *(f"{package}.{word}" for word in re.findall(r"\w+", names))]
    return seen
