"""Parts from outside the package: ``--import FILE_OR_MODULE``.

Importing runs code, so it is the act of a user: what a run or a preset asks for is imported only if
this user has named it with ``--import`` before, on this machine.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from mixseg.errors import ConfigError, MixsegError
from mixseg.files import read_json, write_atomically


def import_parts(names: Iterable[str]) -> tuple[str, ...]:
    """Import files or modules that the user has named, and remember that.

    Returns:
        The names, files with their absolute paths.

    Raises:
        ConfigError: There is no such file or module, or it raises an error.
    """
    found = tuple(map(_absolute, names))
    for name in found:
        _import(name)
    trusted = _trusted()
    if new := [name for name in found if name not in trusted]:
        try:
            _record().parent.mkdir(parents=True, exist_ok=True)
            write_atomically(_record(), json.dumps(sorted({*trusted, *new}), indent=0))
        except OSError:
            pass  # a machine without a home: --import has to be given each time
    return found


def import_recorded(names: Iterable[str], where: str) -> None:
    """Import what a run or a preset asks for, if this user has imported it before.

    Args:
        names: Files with absolute paths, and modules.
        where: That asks for it, for the message.

    Raises:
        ConfigError: The user has not, or it cannot be imported.
    """
    for name in names:
        if _module_name(name) in sys.modules:
            continue
        if _absolute(name) not in _trusted():
            raise ConfigError(
                f"{where} uses parts from {name}. Importing it runs its code: if you trust it, say "
                f"--import {name}"
            )
        _import(name)


def _import(name: str) -> None:
    path = Path(name)
    try:
        if path.suffix != ".py":
            if "" not in sys.path:  # as with python -m: modules of this folder
                sys.path.insert(0, "")
            importlib.import_module(name)
            return
        if _module_name(name) in sys.modules:
            return
        spec = importlib.util.spec_from_file_location(_module_name(name), path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        # Under its name before it runs, as import does: loader processes find its classes by it.
        sys.modules[_module_name(name)] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[_module_name(name)]
            raise
    except MixsegError:
        raise
    except Exception as error:
        raise ConfigError(
            f"--import {name}: cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _absolute(name: str) -> str:
    path = Path(name).expanduser()
    return str(path.absolute()) if path.suffix == ".py" else name


def _module_name(name: str) -> str:
    path = Path(name)
    return (
        f"mixseg_parts_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
        if path.suffix == ".py"
        else name
    )


def _record() -> Path:
    folder = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(folder) / "mixseg" / "imports.json"


def _trusted() -> set[str]:
    try:
        return set(map(str, read_json(_record())))
    except (OSError, ValueError, TypeError, RuntimeError):
        return set()
