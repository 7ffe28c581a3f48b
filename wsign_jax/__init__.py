"""WhisperSign in JAX: hand keypoints in, sign glosses out."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsign_jax.recognize.recognizer import Recognizer as Recognizer


def __getattr__(name: str) -> Any:
    """Imports `Recognizer` when it is asked for, because keypoints and data do without jax."""
    if name == "Recognizer":
        from wsign_jax.recognize.recognizer import Recognizer  # noqa: PLC0415

        return Recognizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
