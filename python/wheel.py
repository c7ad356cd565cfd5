"""Packs the Python package and the C library into a wheel: python3 wheel.py LIBRARY FOLDER.

A wheel is a zip file with a list of what is in it. The library needs no interpreter of one version,
so the tag is py3-none, and the platform is that of the newest symbols of glibc that anything asks for.
With CC="python3 -m ziglang cc -target x86_64-linux-gnu.2.17" for it and the library that is 2.17.
The version is the library's own, which Go's compiler takes from git's tags.
"""

from __future__ import annotations

import base64
import ctypes
import hashlib
import os
import pathlib
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile

HERE = pathlib.Path(__file__).parent
METADATA = """\
Metadata-Version: 2.1
Name: fusestep
Version: {version}
Summary: Fused optimizer steps for PyTorch
License: Apache-2.0
Requires-Python: >=3.10
Provides-Extra: torch
Requires-Dist: torch>=2.4; extra == "torch"
Description-Content-Type: text/markdown

"""


def version(library: pathlib.Path) -> str:
    """What the library says of itself, v1.2.3 at a tag and v1.2.4-0.20260102030405-0123456789ab after it, as Python spells it."""
    of_library = ctypes.CDLL(str(library)).fs_version
    of_library.restype = ctypes.c_char_p
    text = of_library().decode()
    if text == "(devel)":  # built where Go finds no git
        return "0.dev0"
    found = re.fullmatch(r"v(\d+\.\d+\.\d+)(?:-(rc)\.(\d+))?(?:(?:-|\.0\.|-0\.)(\d{14})-([0-9a-f]{12}))?(\+dirty)?", text)
    if found is None:
        sys.exit(f"wheel: {text} is no version that Python can have")
    base, rc, number, time, commit, dirty = found.groups()
    local = ".".join(filter(None, (commit, dirty and "dirty")))
    return base + (f"rc{number}" if rc else "") + (f".dev{time}" if time else "") + (f"+{local}" if local else "")


def glibc(*libraries: pathlib.Path) -> tuple[int, ...]:
    """The newest version of glibc's symbols that libraries ask for."""
    versions = {(2, 17)}  # the oldest that a tag names
    for library in libraries:
        symbols = subprocess.run(["objdump", "-T", library], check=True, capture_output=True, text=True).stdout
        versions |= {tuple(map(int, v.split("."))) for v in re.findall(r"GLIBC_([0-9.]+)", symbols)}
    return max(versions)[:2]


def collect(folder: pathlib.Path) -> pathlib.Path:
    """Compiles collect.c."""
    out = folder / "collect.so"
    subprocess.run([*shlex.split(os.environ.get("CC", "cc")), "-O2", "-shared", "-fPIC", "-s", "-o", out, HERE / "collect.c"], check=True)
    return out


def main(library: pathlib.Path, folder: pathlib.Path) -> None:
    with tempfile.TemporaryDirectory() as work:
        libraries = {"libfusestep.so": library, "collect.so": collect(pathlib.Path(work))}
        is_version = version(library)
        tag = f"py3-none-manylinux_{'_'.join(map(str, glibc(*libraries.values())))}_{platform.machine()}"
        info = f"fusestep-{is_version}.dist-info"
        files = {
            str(f.relative_to(HERE)): f.read_bytes()
            for f in sorted((HERE / "fusestep").rglob("*"))
            if f.suffix in (".py", ".typed")
        }
        files |= {f"fusestep/{name}": path.read_bytes() for name, path in libraries.items()}
        files |= {
            f"{info}/METADATA": (METADATA.format(version=is_version) + (HERE / "README.md").read_text()).encode(),
            f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: wheel.py\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(),
            f"{info}/licenses/LICENSE": (HERE.parent / "LICENSE").read_bytes(),
        }
        record = []
        for name, data in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(data)}\n")
        files[f"{info}/RECORD"] = ("".join(record) + f"{info}/RECORD,,\n").encode()
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("fusestep-*.whl"):
            old.unlink()
        path = folder / f"fusestep-{is_version}-{tag}.whl"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
            for name, data in files.items():
                entry = zipfile.ZipInfo(name)  # of 1980, so that the same files are the same wheel
                entry.external_attr = 0o644 << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                wheel.writestr(entry, data)
        print(path)


if __name__ == "__main__":
    if shutil.which("objdump") is None:
        sys.exit("wheel: objdump is missing: it is of binutils")
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
