"""What the wheel says of itself."""

import importlib.metadata
import platform
import re

from fusestep import _library


def test_version_is_the_librarys():
    of_library = _library.library().fs_version().decode()
    base = "0" if of_library == "(devel)" else re.match(r"v(\d+\.\d+\.\d+)", of_library).group(1)
    assert re.match(re.escape(base) + r"($|rc|\.dev|\+)", importlib.metadata.version("fusestep"))


def test_tag_is_the_oldest_glibc():
    """No library asks for a newer glibc than the tag says, and the tag is no newer than what is asked, or than the oldest that a tag names."""
    wheel = importlib.metadata.distribution("fusestep")
    found = re.search(r"^Tag: py3-none-manylinux_(\d+)_(\d+)_(\w+)$", wheel.read_text("WHEEL"), re.M)
    assert found.group(3) == platform.machine()
    libraries = [f for f in wheel.files if f.suffix == ".so"]
    assert len(libraries) == 2
    asked = {tuple(map(int, v.split(b"."))) for f in libraries for v in re.findall(rb"\0GLIBC_(\d+\.\d+)[.\d]*(?=\0)", f.read_binary())}
    assert (int(found.group(1)), int(found.group(2))) == max(asked | {(2, 17)})
