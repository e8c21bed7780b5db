"""The servers that the demo needs: an object store throughout, a language model only while it labels."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thresher.contracts.manifests import LabelManifest
from thresher.labeling.run import find_labels, label
from thresher.labeling.spec import LabelSpec
from thresher.runtime.local.stack import ROOT, LocalStack, StackPlan, read_state, status, up


@contextmanager
def object_store(folder: Path, root: str | None, keep: bool) -> Iterator[str]:
    """The root to work in; the environment holds its credentials.

    A root of the user's own is taken as it is. Else SeaweedFS runs for the block, or goes on after it with `keep`;
    one that `thresher up` or an earlier `--keep` left running is used.
    """
    if root is not None:
        yield root
    elif any(status(folder).values()):
        os.environ.update(read_state(folder).environment)
        yield ROOT
    elif keep:
        os.environ.update(up(StackPlan(folder)).environment)
        yield ROOT
    else:
        with LocalStack(StackPlan(folder)) as stack:
            os.environ.update(stack.environment)
            yield ROOT


def label_with_local_model(spec: LabelSpec, model: Path, folder: Path) -> LabelManifest:
    """Label with vLLM's server on the bundled model, started only if the labels are not there yet."""
    found = find_labels(spec)
    if found is not None:
        return found
    plan = StackPlan(folder, object_store=False, model_folder=model, served_name=spec.endpoint.model)
    with LocalStack(plan) as stack:
        os.environ.update(stack.environment)
        base_url = stack.environment["OPENAI_BASE_URL"]
        endpoint = spec.endpoint.model_copy(update={"base_url": base_url})
        return label(spec.model_copy(update={"endpoint": endpoint}))
