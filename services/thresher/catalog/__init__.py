"""The catalog: dictionaries, features, labels and scores in SQL, made from stored artifacts."""

from thresher.catalog.database import DEFAULT_URL, Catalog, CatalogError, open_catalog

__all__ = ["DEFAULT_URL", "Catalog", "CatalogError", "open_catalog"]
