"""All checks of `thresher doctor`, from the machine to the endpoint."""

import os

from thresher.catalog.database import open_catalog
from thresher.runtime.doctor import Check, CheckResult, endpoint_check, machine_checks, run_check, store_check

ENDPOINT_VARIABLE = "OPENAI_BASE_URL"


def examine(root: str | None, catalog_url: str) -> list[CheckResult]:
    """Check this machine, the catalog, and the store and OPENAI_BASE_URL where they are given."""
    checks = [*machine_checks(), Check("catalog", lambda: reachable_catalog(catalog_url))]
    if root is not None:
        checks.append(store_check(root))
    if ENDPOINT_VARIABLE in os.environ:
        checks.append(endpoint_check(os.environ[ENDPOINT_VARIABLE]))
    return [run_check(check) for check in checks]


def reachable_catalog(url: str) -> str:
    """Open a catalog, making it if it is not there; says where it is, without its password."""
    catalog = open_catalog(url)
    catalog.close()
    return catalog.url
