"""llama.cpp: a model in memory, and the sequences that it continues."""

from __future__ import annotations

import atexit
import ctypes
import functools
import logging
import os
import threading
import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from neucodec_tts.errors import CheckpointError, DeviceError, EngineError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from neucodec_tts_llamacpp.speech_only import TokenTable

logger = logging.getLogger(__name__)

INSTALL = "pip install 'neucodec-tts[laptop]'"
_ERROR = 3  # llama.cpp's level
_DETAIL, _FAILURE = (
    logging.DEBUG - 5,
    logging.DEBUG,
)  # what is wrong is raised; the log is for whoever looks into it
_SPINS = "30000"


@functools.cache
def binding() -> Any:
    """Return the module ``llama_cpp``, whose messages go to `logging`.

    Raises:
        EngineError: it is not installed.
    """
    # OpenMP's threads meet some thousand times for every token. If they sleep at once in between, as the command line
    # asks of PyTorch's, a token takes longer; if they spin for long, other processes wait.
    spins = os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    try:
        import llama_cpp
    except (ImportError, OSError, RuntimeError) as error:
        raise EngineError(f"llama.cpp is not installed ({error}): {INSTALL}") from error
    finally:
        if spins == _SPINS:
            os.environ.pop("GOMP_SPINCOUNT", None)

    @llama_cpp.llama_log_callback
    def hear(level: int, text: bytes, _: object) -> None:
        message = text.decode("utf-8", "replace").strip()
        if message:
            logger.log(_FAILURE if level == _ERROR else _DETAIL, "%s", message)

    llama_cpp.llama_log_set(hear, ctypes.c_void_p())
    atexit.register(lambda: hear)  # it must live as long as llama.cpp
    llama_cpp.llama_backend_init()
    return llama_cpp


class Token(NamedTuple):
    """One token to compute.

    Attributes:
        id: of the token.
        position: its place in the sequence.
        sequence: number of the sequence.
        wanted: True if the logits after it are wanted.
    """

    id: int
    position: int
    sequence: int
    wanted: bool


class Runtime:
    """A model, and the keys and values of some sequences. One thread at a time may use it.

    Args:
        path: of the GGUF file.
        table: reduces the model to the logits that are wanted; None leaves it whole.
        sequences: number of them.
        context_length: most tokens of a sequence.
        threads: that compute.
        gpu: put all layers on the GPU.

    Attributes:
        rows: number of logits.
        context_length: most tokens of a sequence: no more than the model was trained with.
        computed: tokens that have been computed so far.
        lock: held while a sequence is changed; whoever computes, cuts or copies must hold it.

    Raises:
        CheckpointError: the file is damaged, or llama.cpp does not know its kind of model.
        DeviceError: there is not enough memory, or no GPU.
        EngineError: llama.cpp is not installed.
    """

    _BATCH = 512

    def __init__(
        self,
        path: str,
        table: TokenTable | None,
        *,
        sequences: int,
        context_length: int,
        threads: int,
        gpu: bool | None,
    ) -> None:
        self._api = api = binding()
        # The garbage collector may end a generation, which takes the lock, in the thread that holds it.
        self.lock = threading.RLock()
        self._freed = threading.Event()
        self.computed = 0
        offers_gpu = bool(api.llama_supports_gpu_offload())
        if gpu and not offers_gpu:
            raise DeviceError(
                "the llama.cpp that is installed computes on the CPU only; leave out the device"
            )
        with _Failures() as failures:
            options = api.llama_model_default_params()
            options.n_gpu_layers = 0 if gpu is False or not offers_gpu else 999
            if b"AMX_INT8 = 1" in api.llama_print_system_info():
                options.use_extra_bufts = False  # the one for AMX crashes: ggml-org/llama.cpp#20824
            if table is None:
                model = api.llama_model_load_from_file(os.fsencode(path), options)
            else:
                with table.reduced() as reduced:
                    options.load_mode = api.LLAMA_LOAD_MODE_NONE  # the file does not stay
                    model = api.llama_model_load_from_file(os.fsencode(reduced), options)
            if not model:
                raise CheckpointError(
                    f"{path} cannot be loaded by llama.cpp: {failures}; download or convert it again"
                )
            self.rows = int(api.llama_vocab_n_tokens(api.llama_model_get_vocab(model)))
            self.context_length = min(context_length, int(api.llama_model_n_ctx_train(model)))
            wanted = api.llama_context_default_params()
            wanted.n_ctx = self.context_length * sequences
            wanted.n_seq_max = sequences
            wanted.n_outputs_max = sequences
            wanted.n_batch = wanted.n_ubatch = max(self._BATCH, sequences)
            wanted.n_threads = wanted.n_threads_batch = threads
            wanted.kv_unified = False
            wanted.no_perf = True
            self._context = api.llama_init_from_model(model, wanted)
            self._finalizer = weakref.finalize(self, _free, api, model, self._context, self.lock, self._freed)
            if not self._context:
                self.close()
                raise DeviceError(
                    f"llama.cpp cannot hold {sequences} sequences of {self.context_length} tokens: {failures}; lower "
                    "max_batch or context_length"
                )
        self._memory = api.llama_get_memory(self._context)
        self._batch = _Batch(api, int(wanted.n_batch), sequences, table)

    def compute(self, tokens: Sequence[Token]) -> list[NDArray[np.float32]]:
        """Compute tokens, and return the logits (rows,) of those that want them; valid until the next call.

        Raises:
            EngineError: llama.cpp fails, or the memory was freed: by `close`, or because the program ends.
        """
        if self._freed.is_set():
            raise EngineError("the model has been closed; load it again")
        found: list[NDArray[np.float32]] = []
        for first in range(0, len(tokens), self._batch.size):
            part = tokens[first : first + self._batch.size]
            status = self._api.llama_decode(self._context, self._batch.fill(part))
            if status != 0:
                raise EngineError(f"llama.cpp failed to compute {len(part)} tokens (status {status})")
            self.computed += len(part)
            found += [
                np.ctypeslib.as_array(self._api.llama_get_logits_ith(self._context, place), (self.rows,))
                for place, token in enumerate(part)
                if token.wanted
            ]
        return found

    def cut(self, sequence: int, length: int) -> int:
        """Forget all tokens of a sequence from a position on; returns how many are left.

        A model whose memory is no list of tokens forgets all.
        """
        if self._freed.is_set():
            return 0
        if self._api.llama_memory_seq_rm(self._memory, sequence, length, -1):
            return length
        self._api.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        return 0

    def copy(self, source: int, target: int) -> None:
        """Let a sequence be the copy of another."""
        self._api.llama_memory_seq_rm(self._memory, target, -1, -1)
        self._api.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def close(self) -> None:
        """Free the memory, once nothing is being computed. What is generated later fails."""
        self._finalizer()


class _Batch:
    """The memory of one call's input."""

    def __init__(self, api: Any, size: int, sequences: int, table: TokenTable | None) -> None:
        self.size = size
        self._table = table
        self._vectors = np.zeros((size, table.width if table else 1), np.float32)
        self._ids = np.zeros(size, np.int32)
        self._positions = np.zeros(size, np.int32)
        self._counts = np.ones(size, np.int32)  # each token belongs to one sequence
        self._wanted = np.zeros(size, np.int8)
        self._numbers = np.arange(sequences, dtype=np.int32)
        self._owners = (ctypes.POINTER(ctypes.c_int32) * size)()
        self._pointers = [
            self._numbers[number:].ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
            for number in range(sequences)
        ]
        self._struct = api.llama_batch(
            n_tokens=0,
            token=None if table else self._ids.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            embd=self._vectors.ctypes.data_as(ctypes.POINTER(ctypes.c_float)) if table else None,
            pos=self._positions.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            n_seq_id=self._counts.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            seq_id=ctypes.cast(self._owners, ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
            logits=self._wanted.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def fill(self, tokens: Sequence[Token]) -> Any:
        count = len(tokens)
        ids = [token.id for token in tokens]
        if self._table is None:
            self._ids[:count] = ids
        else:
            self._vectors[:count] = self._table(ids)
        self._positions[:count] = [token.position for token in tokens]
        self._wanted[:count] = [token.wanted for token in tokens]
        for place, token in enumerate(tokens):
            self._owners[place] = self._pointers[token.sequence]
        self._struct.n_tokens = count
        return self._struct


class _Failures(logging.Handler):
    """Collects what llama.cpp says of failures while it is entered."""

    def __init__(self) -> None:
        super().__init__(_FAILURE)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage().split(": ", 1)[-1])

    def __enter__(self) -> _Failures:
        self._level = logger.level
        logger.setLevel(min(_FAILURE, logger.getEffectiveLevel()))
        logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logger.removeHandler(self)
        logger.setLevel(self._level)

    def __str__(self) -> str:
        return "; ".join(dict.fromkeys(self.texts)) or "no reason given"


def _free(
    api: Any, model: Any, context: Any, lock: AbstractContextManager[Any], freed: threading.Event
) -> None:
    with lock:  # at the end of the program, too, another thread may compute
        freed.set()
        if context:
            api.llama_free(context)
        if model:
            api.llama_model_free(model)
