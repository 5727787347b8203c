"""Groups of items that share a key, directly or through others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable
from typing import TypeVar

T = TypeVar("T")


def connected(items: Iterable[T], keys_of: Callable[[T], Collection[Hashable]]) -> list[tuple[T, ...]]:
    """The connected components, each in the order of its items, in the order of their first items.

    Union-find with path halving: near-linear in the number of keys. An item without keys is a group of its own.
    """
    listed = list(items)
    parent = list(range(len(listed)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    owner: dict[Hashable, int] = {}
    for index, item in enumerate(listed):
        for key in keys_of(item):
            first, other = sorted((root(owner.setdefault(key, index)), root(index)))
            parent[other] = first  # the smaller index becomes the root, so the order of first items is kept
    groups: dict[int, list[T]] = {}
    for index, item in enumerate(listed):
        groups.setdefault(root(index), []).append(item)
    return [tuple(groups[index]) for index in sorted(groups)]
