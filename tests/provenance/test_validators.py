"""A second validator, which shares no code with the library that signs, says the same of every file."""

from pathlib import Path

import pytest

from mmdiff.provenance.certificates import new
from mmdiff.provenance.signatures import FORMATS, signature
from tests.provenance.test_signing import BESIDE, signed, within

verifier = pytest.importorskip("encypher_c2pa", reason="there is no second validator (pip install encypher-c2pa)")
OTHERS = (".mov", ".avi")
"""What mmdiff signs and does not write."""
ANY = "application/zip"
"""The validator asks for a kind that it knows, and does not look at it where the signature is beside the file."""


def verdict(path, root):
    """The state of a file in the words of ``mmdiff check``, by the second validator."""
    beside = Path(f"{path}.c2pa")
    store = {"manifest_store": beside.read_bytes()} if beside.is_file() else {}
    said = verifier.verify(path.read_bytes(), ANY if store else FORMATS[path.suffix], trust_pem=root.read_text(),
                           no_default_trust=True, **store)
    if said["integrity"] != "valid":
        return "changed"
    return "trusted" if said["trust"]["status"] == "valid_for_supplied_material" else "unknown"


@pytest.mark.parametrize("suffix", [*(s for s in FORMATS if s not in OTHERS), *BESIDE])
def test_two_validators_agree_on_what_is_signed_by_whom_and_what_was_changed(tmp_path, keys, suffix):
    path, *_ = signed(tmp_path, suffix, keys)
    (tmp_path / "other").mkdir()
    *_, stranger = new(tmp_path / "other", "Anna")
    for root, state in ((keys[2], "trusted"), (stranger, "unknown")):
        assert verdict(path, root) == signature(path, root).state == state
    whole = path.read_bytes()
    store = within(whole) if suffix in FORMATS else ()
    for place in {len(whole) // 3, len(whole) - 40}.difference(store):
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(changed)
        assert verdict(path, keys[2]) == signature(path, keys[2]).state == "changed", place
