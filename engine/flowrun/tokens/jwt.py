"""A signed statement: JSON Web Signature in compact form. Extra ``crypto``.

Source: RFC 7515, RFC 7518 (sections 3.3 to 3.5), RFC 7523.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from flowrun.errors import ProjectError
from flowrun.values import Secret, encode_json

_CURVES = {"256": ("secp256r1", 32), "384": ("secp384r1", 48), "512": ("secp521r1", 66)}
_RSA_LEAST = 2048  # bits
Sign = Callable[[bytes], bytes]


def signer(key: Secret, algorithm: str) -> Sign:
    """Signs with a private key in PEM. Raises ProjectError: not a key, the wrong kind, too weak, no package."""
    try:
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
    except ImportError:
        raise ProjectError("signing a statement needs another package", help="pip install 'flowrun[crypto]'") from None
    try:
        private = serialization.load_pem_private_key(key.reveal().encode(), password=None)
    except (ValueError, TypeError):
        raise ProjectError(
            "auth: 'key' is no private key in PEM without a password", help="-----BEGIN PRIVATE KEY----- …"
        ) from None
    family, size = algorithm[:2], algorithm[2:]
    sizes: Mapping[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
    hash_ = sizes[size]
    if family == "ES":
        curve, width = _CURVES[size]
        if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name != curve:
            raise ProjectError(f"auth: {algorithm} needs a key of the curve {curve}")
        elliptic = private

        def sign_ec(data: bytes) -> bytes:
            r, s = decode_dss_signature(elliptic.sign(data, ec.ECDSA(hash_)))
            return r.to_bytes(width, "big") + s.to_bytes(width, "big")

        return sign_ec
    if not isinstance(private, rsa.RSAPrivateKey) or private.key_size < _RSA_LEAST:
        raise ProjectError(f"auth: {algorithm} needs an RSA key of at least {_RSA_LEAST} bits")
    padded = padding.PSS(padding.MGF1(hash_), hash_.digest_size) if family == "PS" else padding.PKCS1v15()
    private_rsa = private
    return lambda data: private_rsa.sign(data, padded, hash_)


def statement(sign: Sign, algorithm: str, key_id: str, claims: Mapping[str, Any]) -> str:
    header = {"alg": algorithm, "typ": "JWT", **({"kid": key_id} if key_id else {})}
    signed = b".".join(_base64(encode_json(part)) for part in (header, claims))
    return (signed + b"." + _base64(sign(signed))).decode("ascii")


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
