"""Signing by C2PA (c2pa.org, specification 2.2), with c2pa-python.

    claim    created, trainedAlgorithmicMedia | opened PARENT, edited;   org.mmdiff.generation = record
             in the file, or in NAME.EXT.c2pa beside it, with a hash of all the rest of the file

A time stamp is the one thing that is fetched, where ``tsa`` names a server for it.
"""

import io
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal
from urllib.parse import urlsplit

from .. import __version__
from ..config.build import ConfigError
from . import tags
from .certificates import algorithm, chain_of, faults, fingerprint, key_of, pkcs8
from .record import public_facts
from .signatures import ANY, ASSERTION, FORMATS, context, form_of
from .signing import BESIDE, Signing, library

INPUT = "input"
"""The key of the parent that an edit starts from; others are inputs that a sample follows."""
SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
CREATED, EDITED = f"{SOURCE}trainedAlgorithmicMedia", f"{SOURCE}compositeWithTrainedAlgorithmicMedia"
LOGGED = f"{SOURCE}dataDrivenMedia"


class C2pa(Signing):
    """Sign by the chain of certificates in ``certificate`` and its private ``key``, a path or ``env:NAME``.

    ``tsa`` is the URL of a time stamp server (RFC 3161). With ``facts=hash`` labels stand in the file as their hash
    alone. ``aigc`` is the name of the producer in the label of GB 45438-2025, which is then written too.
    Raises ``ConfigError`` for a ``tsa`` with a name and password in it, which would stand in every record.
    """

    def __init__(
        self, certificate: Path, key: str, *, tsa: str | None = None, facts: Literal["full", "hash"] = "full",
        aigc: str | None = None,
    ):
        self.certificate, self.key, self.tsa = Path(certificate).expanduser(), str(key), tsa
        self.mode, self.aigc = facts, aigc
        if tsa is not None and "@" in urlsplit(tsa).netloc:
            raise ConfigError("provenance.tsa has a name or password in it, which is kept in no record: name a server "
                              "that asks for none")

    @property
    def facts(self) -> dict[str, Any]:
        found = {"kind": "c2pa", "certificate": fingerprint(self._chain), "facts": self.mode}
        return found | {name: value for name, value in (("tsa", self.tsa), ("aigc", self.aigc)) if value is not None}

    def check(self, ending: str) -> None:
        if self.aigc is not None and ending.lower() not in tags.SEVERAL:
            raise ConfigError(f"provenance.aigc={self.aigc}: {ending} has no place for that label; there is one in "
                              f"{' '.join(tags.SEVERAL)}")
        if reasons := list(faults(self._chain, self._key)):
            raise ConfigError(f"provenance.certificate={self.certificate} may not sign: {'; '.join(reasons)}")
        c2pa = library("c2pa")
        try:
            self._sign(io.BytesIO(b"a trial"), "trial", {}, {}, "", LOGGED)
        except c2pa.C2paError as error:
            where = f" with provenance.tsa={self.tsa}" if self.tsa else ""
            raise ConfigError(f"provenance.certificate={self.certificate} does not sign{where}: {error}") from None

    def within(self, path: Path) -> bool:
        return path.suffix.lower() in FORMATS

    def sign(
        self, path: Path, name: str, record: Mapping[str, Any], parents: Mapping[str, Path], *, generated: bool = True
    ) -> bytes | None:
        name = record.get("id", name) if self.mode == "hash" else name            # a name may hold labels
        facts = {**public_facts(record), **{key: record[key] for key in ("payload_sha256", "audit") if key in record}}
        try:
            with path.open("rb") as source:
                signed = self._sign(source, name, facts, parents, path.suffix.lower(), CREATED if generated else LOGGED)
        except library("c2pa").C2paError as error:
            raise OSError(f"{name} cannot be signed: {error}") from None
        if not self.within(path):
            return signed
        path.write_bytes(signed)
        return None

    def _sign(
        self, source: BinaryIO, name: str, facts: Mapping[str, Any], parents: Mapping[str, Path], ending: str, kind: str
    ) -> bytes:
        """The signed file, or the signature alone where the format holds none."""
        files = {key: parent for key, parent in parents.items() if parent.is_file()}      # a folder is in the record
        assertions = [{"label": "c2pa.actions.v2", "data": {"actions": _actions(files, kind)}}]
        builder = library("c2pa").Builder({
            "claim_generator_info": [{"name": "mmdiff", "version": __version__}], "title": name,
            "assertions": [*assertions, *([{"label": ASSERTION, "data": dict(facts)}] if facts else [])],
        }, context())
        for key, parent in files.items():
            _add(builder, key, parent)
        output = io.BytesIO()
        if ending not in FORMATS:
            builder.set_no_embed()
            return builder.sign(self._signer, ANY, source, output)
        builder.sign(self._signer, FORMATS[ending], source, output)
        return output.getvalue()

    @cached_property
    def _chain(self) -> list[Any]:
        return chain_of(self.certificate)

    @cached_property
    def _key(self) -> bytes:
        return key_of(self.key)

    @cached_property
    def _signer(self) -> Any:
        c2pa = library("c2pa")
        kind = getattr(c2pa.C2paSigningAlg, algorithm(self._key))
        chain, tsa = self.certificate.read_bytes(), self.tsa.encode() if self.tsa else None
        return c2pa.Signer.from_info(c2pa.C2paSignerInfo(kind, chain, pkcs8(self._key), tsa))


def _actions(files: Mapping[str, Path], kind: str) -> list[dict[str, Any]]:
    """What was done: created, after files of controls if there are any; or an ``input`` that was opened and edited."""
    parameters = {"parameters": {"ingredientIds": list(files)}} if files else {}
    if INPUT not in files:
        return [{"action": "c2pa.created", "digitalSourceType": kind, **parameters}]
    return [{"action": "c2pa.opened", **parameters}, {"action": "c2pa.edited", "digitalSourceType": EDITED}]


def _add(builder: Any, key: str, parent: Path) -> None:
    """Add what a file was made from, with its own signature where it has one."""
    relation = "parentOf" if key == INPUT else "inputTo"
    ingredient: dict[str, Any] = {"title": parent.name, "relationship": relation, "label": key}
    form = form_of(parent)
    if form == ANY and (beside := Path(f"{parent}{BESIDE}")).is_file():
        with parent.open("rb") as file:
            reader = library("c2pa").Reader(ANY, file, beside.read_bytes(), context=context())
        ingredient |= {"manifest_data": {"format": "application/c2pa", "identifier": beside.name},
                 "validation_results": reader.get_validation_results()}
        with beside.open("rb") as file:
            builder.add_resource(beside.name, file)
    with parent.open("rb") as file:
        builder.add_ingredient(ingredient, form, file)
