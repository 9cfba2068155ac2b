"""Whether topics make sense and differ, by their most probable words."""

import torch
from torch import Tensor


def coherence(counts: Tensor, top: Tensor) -> Tensor:
    """How often a topic's words meet: counts `(N, V)`, top words `(K, T)` -> `(K,)` in [-1, 1].

    The mean over pairs of words of NPMI = log(p_ij / (p_i p_j)) / -log p_ij, with p the share of
    documents that have the word, or both (Bouma 2009, "Normalized (Pointwise) Mutual Information in
    Collocation Extraction"; of topics: Lau et al. 2014, doi:10.3115/v1/E14-1056).
    1: only ever together; 0: as often as if independent; -1: never. Two words of every document
    count as independent.

    >>> counts = torch.tensor([[1, 2, 0], [3, 1, 0], [0, 0, 1], [0, 0, 1]])
    >>> coherence(counts, torch.tensor([[0, 1], [0, 2]])).tolist()
    [1.0, -1.0]
    """
    present = (counts > 0)[:, top].float()
    joint = torch.einsum("nki,nkj->kij", present, present).double() / len(counts)
    single = joint.diagonal(dim1=-2, dim2=-1)
    mutual = (joint / (single.unsqueeze(-1) * single.unsqueeze(-2))).log()
    npmi = torch.where(joint == 1, 0, torch.where(joint == 0, -1, mutual / -joint.log()))
    first, second = torch.triu_indices(top.shape[1], top.shape[1], offset=1)
    return npmi[:, first, second].mean(-1)


def diversity(top: Tensor) -> float:
    """The share of distinct words among the topics' top words `(K, T)`.

    Dieng et al. 2020, "Topic Modeling in Embedding Spaces", arXiv:1907.04907.

    >>> diversity(torch.tensor([[0, 1], [1, 2]]))
    0.75
    """
    return len(set(top.flatten().tolist())) / top.numel()
