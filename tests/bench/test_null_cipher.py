"""The build without a cipher fits the sources as they are; when it no longer does, it says so."""

from pathlib import Path

import pytest

from bench.tunnel.null_cipher import FILE, without_cipher

ROOT = Path(__file__).resolve().parents[2]
HEAD = '"""One packet."""\nfrom libc.stdint cimport uint8_t, uint32_t\n\n\n'


def _function(name: str, parameters: str) -> str:
    body = "    cdef int n\n\n    return EVP_Do(ctx, &n) == 1\n\n\n"
    return f"cdef inline bint {name}({parameters}) noexcept nogil:\n{body}"


def test_the_sources_as_they_are() -> None:
    emptied = without_cipher((ROOT / FILE).read_text())
    assert "cdef inline bint evp_seal(" in emptied
    assert "cdef inline bint evp_open(" in emptied
    assert "EVP_EncryptUpdate(ctx" not in emptied
    assert "EVP_DecryptUpdate(ctx" not in emptied


def test_a_cipher_that_moves_the_text_leaves_a_copy() -> None:
    both = "EVP_CIPHER_CTX *ctx, uint8_t *to, const uint8_t *text, uint32_t text_len"
    emptied = without_cipher(HEAD + _function("evp_seal", both) + _function("evp_open", both))
    assert emptied.count("memcpy(to, text, text_len)") == 2
    assert "EVP_Do" not in emptied


@pytest.mark.parametrize(
    "source",
    [
        HEAD + _function("evp_seal", "uint8_t *text"),
        HEAD + _function("evp_seal", "uint8_t *text") + _function("evp_unseal", "uint8_t *text"),
        HEAD + _function("evp_seal", "uint8_t *a, uint8_t *b") + _function("evp_open", "uint8_t *text"),
    ],
)
def test_sources_it_does_not_know(source: str) -> None:
    with pytest.raises(ValueError, match="evp_"):
        without_cipher(source)
