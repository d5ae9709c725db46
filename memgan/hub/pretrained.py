"""Networks from and to weights: ``from_pretrained``, ``save_pretrained`` and ``push_to_hub`` of :class:`MemGAN`.

Network and hub are siblings that know nothing of each other, so what needs both is here, above them. Importing this
module (as asking ``memgan`` for ``MemGAN`` does) gives the class its three methods.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from memgan import hub
from memgan.hub.card import METRICS_KEY, Metrics, model_card
from memgan.hub.repository import CARD_FILE
from memgan.hub.weight_file import Checkpoint
from memgan.network.model import MemGAN, build_memgan
from memgan.runtime.atomic_file import atomic_write

__all__ = ["MemGAN", "build_memgan", "from_pretrained", "push_to_hub", "save_pretrained"]


def from_pretrained(
    name_or_path: str | os.PathLike[str] | None = None,
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool | None = None,
    token: str | None = None,
) -> MemGAN:
    """A network with weights, strictly loaded, in eval mode, on the CPU in float32.

    Args:
        name_or_path: a registered name, ``owner/repo[@revision]`` of the Hugging Face hub, a file or a folder;
            ``None``: the embedded weights. See :func:`memgan.hub.resolve`.
        revision: branch, tag or commit of the hub repository.
        cache_dir: folder for downloads.
        local_files_only: never use the network; ``None``: what ``HF_HUB_OFFLINE`` says.
        token: of the hub; ``None``: the one of ``HF_TOKEN`` or of the login.

    Returns:
        The network; its ``metadata`` are the entries of the file's header (license, training), for saving it again.

    Raises:
        WeightsNotFoundError: if there are no such weights.
        ChecksumError: if the file differs from the registered one.
        StateMismatchError: if a tensor is missing, superfluous or misshapen.
        WeightsError: if the file is damaged or of another kind, or a download fails.
    """
    checkpoint = hub.load(name_or_path, revision=revision, cache_dir=cache_dir, offline=local_files_only, token=token)
    network = build_memgan(checkpoint.config, checkpoint.state)
    network.metadata = dict(checkpoint.metadata)
    return network.eval()


def save_pretrained(
    network: MemGAN,
    directory: str | os.PathLike[str],
    *,
    metadata: Mapping[str, str] | None = None,
    metrics: Metrics | None = None,
    card: str | None = None,
    half: bool = False,
) -> Path:
    """Write ``config.json``, ``model.safetensors`` and the model card (README.md) into ``directory``.

    Args:
        network: what to save.
        directory: made if missing; files of these names are replaced, each when its successor is complete.
        metadata: further header entries (``license`` is the most important), over those that the network came with.
        metrics: how good it was found to be; ``None``: what its metadata say.
        card: text of the card; ``None``: one is generated from configuration, metadata and metrics.
        half: store in half precision, see :func:`memgan.hub.weight_file.save`.

    Returns:
        The directory.

    Raises:
        WeightsError: if a tensor has values that are not finite, or the metadata are not text.
        OutputError: if the files cannot be written.
    """
    checkpoint = _checkpoint(network, metadata, metrics)
    folder = hub.save_pretrained(directory, checkpoint, half=half)
    with atomic_write(folder / CARD_FILE) as temporary:
        temporary.write_text(model_card(checkpoint) if card is None else card, encoding="utf-8")
    return folder


def push_to_hub(
    network: MemGAN,
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
    """Upload what :func:`save_pretrained` writes; the repository is made if need be.

    Args:
        network, metadata, metrics, card, half: see :func:`save_pretrained`.
        repo_id: ``owner/repo``.
        private: make a new repository private.
        token: of the hub; ``None``: the one of ``HF_TOKEN`` or of the login.
        commit_message: of the commit.

    Returns:
        The commit's hash: the revision to pin.

    Raises:
        WeightsError: if the upload fails, or what is to be uploaded is not allowed.
    """
    checkpoint = _checkpoint(network, metadata, metrics)
    text = model_card(checkpoint, repo_id) if card is None else card
    return hub.push_to_hub(
        repo_id, checkpoint, card=text, private=private, token=token, message=commit_message, half=half
    )


def _checkpoint(network: MemGAN, metadata: Mapping[str, str] | None, metrics: Metrics | None) -> Checkpoint:
    entries = {**getattr(network, "metadata", {}), **(metadata or {})}
    if metrics is not None:
        entries[METRICS_KEY] = metrics.to_json()
    return Checkpoint(network.config, network.state_dict(), entries)


MemGAN.from_pretrained = staticmethod(from_pretrained)
MemGAN.save_pretrained = save_pretrained
MemGAN.push_to_hub = push_to_hub
