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


class UntrustedError(ConfigError):
    """A run or preset asks for an import that this user has never named."""


def import_recorded(names: object, where: str) -> tuple[str, ...]:
    """Import what a run or a preset asks for, if this user has imported it before.

    A file of the same name that is imported already stands for one that lies elsewhere: on another
    machine, or before it was moved.

    Args:
        names: Its ``imports``: a list of files with absolute paths, and modules.
        where: That asks for it, for the message.

    Returns:
        The names; none if ``names`` is no list, which is refused elsewhere.

    Raises:
        UntrustedError: The user has not.
        ConfigError: It cannot be imported.
    """
    listed = tuple(map(str, names)) if isinstance(names, list | tuple) else ()
    for name in listed:
        if _module_name(name) in sys.modules or _has_namesake(name):
            continue
        if _absolute(name) not in _trusted():
            raise UntrustedError(
                f"{where} uses parts from {name}. Importing it runs its code: if you trust it, say "
                f"--import {name}"
            )
        _import(name)
    return listed


def _import(name: str) -> None:
    path = Path(name)
    try:
        if path.suffix != ".py":
            if not all(word.isidentifier() for word in name.split(".")):
                raise ConfigError(
                    f"--import {name}: is neither a Python file, NAME.py, nor the name of a module"
                )
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


def _has_namesake(name: str) -> bool:
    beginning = _module_name(name)[:-8]
    return name.endswith(".py") and any(one.startswith(beginning) for one in sys.modules)


def _record() -> Path:
    folder = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(folder) / "mixseg" / "imports.json"


def _trusted() -> set[str]:
    try:
        return set(map(str, read_json(_record())))
    except (OSError, ValueError, TypeError, RuntimeError):
        return set()
