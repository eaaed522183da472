"""Owns the compressor's errors. Every message names the thing and says what to do.

CompressorError
├── DocumentError                permanent: this file cannot be ingested as it is
│   ├── EmptyDocument            no bytes, no pages or no text
│   ├── UnsupportedFormat        no parser for it, or it is not what its name says
│   ├── EncryptedDocument        needs a password
│   ├── DamagedDocument          truncated or malformed
│   ├── DocumentTooLarge         over a limit: bytes, pages, characters, unpacked size
│   └── ParserFailed             the parser crashed, ran out of memory or out of time
├── CacheError
│   ├── CacheDamaged             a checksum differs, or a cache does not read back to its text
│   └── UnknownCodec             a fingerprint that this installation does not have
├── ModelError                   weights are missing or not the published ones
│   └── UnsupportedModel         a model class that no family covers
├── RemoteError                  a remote decoder does not answer as it should
│   ├── RemoteUnreachable        no server there
│   ├── RemoteSlow               no answer, or no further piece of it, in time
│   ├── RemoteNonsense           an error, or what is no answer
│   ├── RemoteRefused            a server that was not started to take what is sent
│   └── RemoteOtherModel         a server that serves another model than the one whose caches would be sent
├── ContextTooLong               more tokens than the decoder has positions for
└── DeviceError
    ├── DeviceFull               the device's memory is too small for this batch: halve it
    └── DeviceLost               the device answers with errors only: start a new process
"""


class CompressorError(Exception):
    """Root of what the compressor raises on purpose."""


class DocumentError(CompressorError):
    """This file cannot be ingested as it is; trying again without a change is useless."""


class EmptyDocument(DocumentError):
    """No bytes, no pages or no text."""


class UnsupportedFormat(DocumentError):
    """No parser for it, or it is not what its name says."""


class EncryptedDocument(DocumentError):
    """Needs a password."""


class DamagedDocument(DocumentError):
    """Truncated or malformed."""


class DocumentTooLarge(DocumentError):
    """Over a limit: bytes, pages, characters, unpacked size."""


class ParserFailed(DocumentError):
    """The parser crashed, ran out of memory or out of time."""


class CacheError(CompressorError):
    """A stored cache cannot be used."""


class CacheDamaged(CacheError):
    """A checksum differs, or a cache does not read back to its text."""


class UnknownCodec(CacheError):
    """A fingerprint that this installation does not have."""


class ModelError(CompressorError):
    """Weights are missing or not the published ones."""


class UnsupportedModel(ModelError):
    """A model class that no family covers."""


class RemoteError(CompressorError):
    """A remote decoder does not answer as it should."""


class RemoteUnreachable(RemoteError):
    """No server there."""


class RemoteSlow(RemoteError):
    """No answer, or no further piece of it, in time."""


class RemoteNonsense(RemoteError):
    """An error, or what is no answer."""


class RemoteRefused(RemoteError):
    """A server that was not started to take what is sent."""


class RemoteOtherModel(RemoteError):
    """A server that serves another model than the one whose caches would be sent."""


class ContextTooLong(CompressorError):
    """More tokens than the decoder has positions for."""


class DeviceError(CompressorError):
    """The device that computes cannot go on."""


class DeviceFull(DeviceError):
    """The device's memory is too small for this batch: halve it."""


class DeviceLost(DeviceError):
    """The device answers with errors only, to this process for ever: start a new one."""
