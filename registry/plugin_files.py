"""Plugin files: tasks and models in one file of a person's own, without a package.

``--plugin-file my_task.py`` executes a file that calls ``registry.tasks.register`` or
``registry.models.register``. A run keeps the file's text and hash; reading the run never executes it:
the person names the file again.
"""

from __future__ import annotations

import hashlib
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path

from registry.entry_points import Origin, PluginError, reason


@dataclass(frozen=True)
class PluginFile:
    """A file that was executed, and the names that it registered.

    Args:
        origin: its path and hash.
        source: its bytes, exactly those that were executed.
    """

    origin: Origin
    source: bytes
    names: list[str] = field(default_factory=list)


EXECUTED: list[Path] = []
"""Files that this process has executed, in order: another that gets one of their objects executes them first."""
_executing: PluginFile | None = None


def executing() -> PluginFile | None:
    """The plugin file that is being executed, if one is."""
    return _executing


def load_plugin_file(path: str | Path) -> PluginFile:
    """Execute a plugin file.

    Raises:
        PluginError: it cannot be read, fails, or registers nothing.
    """
    global _executing
    try:
        source = Path(path).read_bytes()
    except OSError as error:
        raise PluginError(f"--plugin-file {path}: {error.strerror}") from None
    loading = PluginFile(Origin("", "", str(path), hashlib.sha256(source).hexdigest()), source)
    # Dataclasses look their module up by name, so that it must be in sys.modules, under a name that no other file has:
    # every run's copy is called plugin.py.
    module = types.ModuleType(f"plugin_file_{Path(path).stem}_{loading.origin.sha256[:12]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    _executing = loading
    try:
        exec(compile(source, str(path), "exec", dont_inherit=True), vars(module))
    except PluginError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(f"--plugin-file {path} failed: {reason(error)}") from error
    finally:
        _executing = None
    if not loading.names:
        raise PluginError(f'--plugin-file {path} registers nothing: it should call registry.tasks.register("name")(…)')
    EXECUTED.append(Path(path).absolute())
    return loading
