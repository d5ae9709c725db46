"""Hands out the batches of a run, and knows from where the next ones have to be made if the run stops here."""

from collections.abc import Generator, Mapping

import torch
from torch import Tensor

from memgan.training.data.stream import Batch, FaceStream, Made, StreamState
from memgan.training.data.workers import worker_batches, worker_states


class Feed:
    """Batches of ``size`` faces without end; close it, so that its processes and threads end.

    Args:
        stream: where the batches come from.
        size: faces of a batch.
        device: which device trains.
        workers: processes that make batches; 0: none, this one makes them.
        seed: of the draws of those processes.
        saved: what :meth:`state` gave in an earlier run, with the same arguments; it is continued.
    """

    def __init__(
        self,
        stream: FaceStream,
        size: int,
        device: torch.device,
        workers: int = 0,
        seed: int = 0,
        saved: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._stream = stream
        self._states = worker_states(seed, workers) if workers else [stream.state]
        self._turn = 0
        if saved is not None:
            self._restore(saved)
        if workers:
            # The process that is started first is the one whose turn it is.
            in_turn = self._states[self._turn :] + self._states[: self._turn]
            self._made: Generator[Made, None, None] = worker_batches(stream, size, device, in_turn)
        else:
            stream.restore(self._states[0])
            # One after another on a CPU, which is busy.
            self._made = stream.batches(size, overlap=device.type != "cpu")

    def __next__(self) -> Batch:
        """The next batch."""
        batch, self._states[self._turn] = next(self._made)
        self._turn = (self._turn + 1) % len(self._states)
        return batch

    def close(self) -> None:
        """End processes and threads."""
        self._made.close()

    def state(self) -> dict[str, Tensor]:
        """Where the streams are after the batches that were handed out, whatever has been made ahead."""
        tensors = {"turn": torch.tensor(self._turn), "count": torch.tensor(len(self._states))}
        for number, state in enumerate(self._states):
            tensors[f"{number}/random"] = state.random
            # A copy: safetensors stores no tensor twice, and both are the same at the beginning.
            tensors[f"{number}/order"] = state.order.clone()
            tensors[f"{number}/left"] = torch.tensor(state.left)
        return tensors

    @property
    def pool_stays(self) -> bool:
        """Whether the drawn faces are never renewed."""
        return self._states[0].pooled is None

    def pool(self) -> dict[str, Tensor]:
        """The faces that the prior drew for later batches; empty if there are none."""
        renewed = self._states[0].pooled
        pool = self._stream.pool if renewed is None else list(renewed)
        if not pool:
            return {}
        faces, latents = zip(*pool, strict=True)
        return {"faces": torch.stack(faces).cpu(), "latents": torch.stack(latents).cpu()}

    def _restore(self, saved: Mapping[str, Tensor]) -> None:
        pool = tuple(self._stream.pool) if self._stream.prior_faces is not None else None
        self._states = [
            StreamState(saved[f"{number}/random"], saved[f"{number}/order"], int(saved[f"{number}/left"]), pool)
            for number in range(int(saved["count"]))
        ]
        self._turn = int(saved["turn"])
