"""Benchmarks of surgrad and other libraries. All of them use the huge pages that the `surgrad` command enables."""

from surgrad import process

process.use_huge_pages()
