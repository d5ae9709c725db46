"""The public network: loads from a name, saves into a folder, and publishes on the Hugging Face hub."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from memgan.hub.card import METRICS_KEY, Metrics, model_card
from memgan.hub.repository import CARD_FILE, upload
from memgan.hub.resolver import load
from memgan.hub.weight_file import Checkpoint, save_pretrained
from memgan.network import model
from memgan.network.config import MemGANConfig
from memgan.runtime.atomic_file import atomic_write
from memgan.runtime.isolation import unfilled

M = TypeVar("M", bound="MemGAN")


class MemGAN(model.MemGAN):
    """Blind face restoration of aligned faces: the network of :mod:`memgan.network`, from and to weight files."""

    @classmethod
    def from_config(cls: type[M], config: MemGANConfig, state: Mapping[str, Tensor] | None = None) -> M:
        """A network of this configuration, with these tensors or fresh ones.

        Raises:
            StateMismatchError: naming missing, unexpected and misshapen tensors.
        """
        return cls(config, *model.build_memgan(config, state).components)

    @classmethod
    def from_pretrained(
        cls: type[M],
        name_or_path: str | os.PathLike[str] | None = None,
        *,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool | None = None,
        token: str | None = None,
    ) -> M:
        """A network with weights, strictly loaded, in eval mode, on the CPU in float32.

        Args:
            name_or_path: a registered name, ``owner/repo[@revision]`` of the Hugging Face hub, a file or a folder;
                ``None``: the embedded weights.
            revision, cache_dir, token: see :func:`memgan.hub.resolve`.
            local_files_only: never use the network; ``None``: what ``HF_HUB_OFFLINE`` says.

        Returns:
            The network; its ``metadata`` are the entries of the file's header (license, training), for saving it again.

        Raises:
            StateMismatchError: if a tensor is missing, superfluous or misshapen.
            WeightsError: if the file is damaged or of another kind; and all that :func:`memgan.hub.resolve` raises.
        """
        checkpoint = load(name_or_path, revision=revision, cache_dir=cache_dir, offline=local_files_only, token=token)
        with torch.inference_mode(False), unfilled():
            network = cls.from_config(checkpoint.config, checkpoint.state)
        network.metadata = dict(checkpoint.metadata)
        return network.eval()

    def save_pretrained(
        self,
        directory: str | os.PathLike[str],
        *,
        metadata: Mapping[str, str] | None = None,
        metrics: Metrics | None = None,
        card: str | None = None,
        half: bool = False,
        repo_id: str | None = None,
    ) -> Path:
        """Write ``config.json``, ``model.safetensors`` and the model card (README.md) into ``directory``.

        Args:
            directory: made if missing, and returned; files of these names are replaced, each as a whole.
            metadata: further header entries (``license`` is the most important), over those that the network came with.
            metrics: how good it was found to be; ``None``: what its metadata say.
            card: text of the card; ``None``: one is generated from configuration, metadata and metrics.
            half: store in half precision, see :func:`memgan.hub.save`.
            repo_id: ``owner/repo`` where the files will be, for the generated card; ``None``: it speaks of a folder.

        Raises:
            WeightsError: if a tensor has values that are not finite, or the metadata are not text.
            OutputError: if the files cannot be written.
        """
        directory, entries = Path(directory), {**self.metadata, **(metadata or {})}
        if metrics is not None:
            entries[METRICS_KEY] = metrics.to_json()
        checkpoint = Checkpoint(self.config, self.state_dict(), entries)
        save_pretrained(directory, checkpoint, half=half)
        with atomic_write(directory / CARD_FILE) as temporary:
            temporary.write_text(model_card(checkpoint, repo_id) if card is None else card, encoding="utf-8")
        return directory

    def push_to_hub(
        self,
        repo_id: str,
        *,
        metadata: Mapping[str, str] | None = None,
        metrics: Metrics | None = None,
        card: str | None = None,
        half: bool = False,
        private: bool = False,
        token: str | None = None,
        commit_message: str = "Add MemGAN weights",
    ) -> str:
        """Upload what :meth:`save_pretrained` writes; the repository is made if need be.

        Args:
            repo_id: ``owner/repo``.
            metadata, metrics, card, half: as there.
            private: make a new repository private.
            token: of the hub; ``None``: the one of ``HF_TOKEN`` or of the login.

        Returns:
            The commit's hash: the revision to pin.

        Raises:
            WeightsError: if the upload fails, or what is to be uploaded is not allowed.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, metadata=metadata, metrics=metrics, card=card, half=half, repo_id=repo_id)
            return upload(Path(folder), repo_id, private=private, token=token, message=commit_message)


def build_memgan(config: MemGANConfig, state: Mapping[str, Tensor] | None = None) -> MemGAN:
    """A network of this configuration, with these tensors or fresh ones; see :meth:`MemGAN.from_config`."""
    return MemGAN.from_config(config, state)
