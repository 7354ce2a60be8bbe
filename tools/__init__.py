"""Generators of pages and measuring tools: run from the checkout, no part of the package."""
