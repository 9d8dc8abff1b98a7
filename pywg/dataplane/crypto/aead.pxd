"""ChaCha20-Poly1305 (RFC 8439) over WireGuard's transport messages: one thread, one direction, key after key.

The backend that the plane was made with seals and opens (aead_select.pyx has the table of backends). It gets whole
batches. Some backends read the key where its owner has it. Libraries copy the key into a context of their own: a thread
has one such context a direction, which gets the key for a batch and loses it with `aead_forget`.
The nonce is 32 zero bits and the 64-bit little-endian counter (paper section 5.4.6); there is no associated data.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from pywg.dataplane.wire.run cimport Run

cdef enum:
    AEAD_BATCH = 64                 # datagrams a call

cdef struct Aead

# Encrypts up to AEAD_BATCH texts in place, with counters from the first one on, and puts a tag behind each. False: the
# library failed.
ctypedef bint (*SealTexts)(const Aead *aead, uint64_t first_counter, uint8_t **texts, const uint32_t *lens,
                           int n) noexcept nogil
# Decrypts up to AEAD_BATCH texts in place; a tag follows each. Bit i: the i-th was authentic. If it was not, the text
# may be garbage afterwards.
ctypedef uint64_t (*OpenTexts)(const Aead *aead, const uint64_t *counters, uint8_t **texts, const uint32_t *lens,
                               int n) noexcept nogil
ctypedef bint (*IsHere)(int kernel) noexcept nogil
ctypedef void *(*NewContext)(bint seals) noexcept nogil
# Copies a key into the context. NULL: none, and nothing that derives from the one before either. False: the library
# failed.
ctypedef bint (*Rekey)(void *context, const uint8_t *key, bint seals) noexcept nogil
ctypedef void (*FreeContext)(void *context) noexcept nogil


cdef struct AeadBackend:
    const char *name
    const char *needs               # in words: the processor or the library that it needs
    IsHere is_here                  # False: this machine lacks that, or this build has no code for its architecture
    SealTexts seal
    OpenTexts open
    int kernel                      # tells apart backends that share these functions
    NewContext new_context          # a place for a copy of the key; these three are NULL where it is read in its place
    Rekey rekey
    FreeContext free_context        # wipes it


cdef struct Aead:
    const AeadBackend *backend
    bint seals                      # it seals; False: it opens
    const uint8_t *key              # 32 bytes of the owner's, in the secret arena; NULL: none
    void *context                   # the backend's, or NULL

cdef void aead_init(Aead *aead, const AeadBackend *backend, bint seals) noexcept nogil
cdef int aead_use(Aead *aead, const uint8_t *key) noexcept nogil
cdef void aead_forget(Aead *aead) noexcept nogil
cdef void aead_free(Aead *aead) noexcept nogil
cdef int seal_run(const Aead *aead, Run *run, uint32_t receiver_index, uint64_t first_counter) noexcept nogil
cdef int seal_batch(const Aead *aead, uint8_t **datagrams, const uint32_t *wire_lens, int n, uint32_t receiver_index,
                    uint64_t first_counter) noexcept nogil
cdef uint64_t open_batch(const Aead *aead, uint8_t **datagrams, const uint32_t *wire_lens, int n) noexcept nogil
