"""This process's connection to Ray: a cluster that runs, or one of its own for as long as it is needed."""

import logging
import os
from collections.abc import Mapping

from thresher.contracts.errors import ClusterError

ADDRESS_VARIABLE = "RAY_ADDRESS"
JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray in a submitted job, whose runtime environment already reaches every worker."""
PASSED_PREFIX = "THRESHER_"
PASSED_NAMES = ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "OPENAI_BASE_URL")
"""Settings that workers of a cluster take from this process. Credentials are none of them: Ray writes the
runtime environment to its logs (runtime_env_agent.log), so a cluster's nodes hold their own."""

_connected = False


def connect(address: str | None = None) -> None:
    """Connect to Ray; nothing if this process is connected.

    Joins the cluster at `address`, else at RAY_ADDRESS, else starts a local Ray with all cores of the machine,
    whose workers inherit this process's environment. `disconnect` leaves the one and ends the other.

    Raises:
        ClusterError: there is no cluster at the address, or it refuses this process.
    """
    import ray

    global _connected
    if ray.is_initialized():
        return
    address = address or os.environ.get(ADDRESS_VARIABLE)
    if address is None:
        ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    else:
        _join(address)
    _connected = True


def disconnect() -> None:
    """Undo `connect`: leave a cluster, end a local Ray. Nothing if `connect` did nothing."""
    global _connected
    if _connected:
        import ray

        ray.shutdown()
        _connected = False


def passed_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings, never credentials, that workers of a cluster are given."""
    return {
        name: value
        for name, value in environment.items()
        if name in PASSED_NAMES or name.startswith(PASSED_PREFIX)
    }


def _join(address: str) -> None:
    import ray
    from ray.exceptions import AuthenticationError

    # Ray refuses two runtime environments that set the same variable, and the job's has what it needs.
    runtime_env = None if JOB_VARIABLE in os.environ else {"env_vars": passed_environment(os.environ)}
    try:
        ray.init(address=address, runtime_env=runtime_env, logging_level=logging.WARNING)
    except AuthenticationError as error:
        raise ClusterError(
            f"The Ray cluster at {address} refused this process: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH "
            "to the file that holds the cluster's token."
        ) from error
    except (ConnectionError, RuntimeError) as error:
        raise ClusterError(
            f"No Ray cluster answers at {address}: correct {ADDRESS_VARIABLE}, or unset it to run on this machine."
        ) from error
