"""Measures surgrad beside its peers. All of them get the huge pages that surgrad's command asks for."""

from surgrad import process

process.use_huge_pages()
