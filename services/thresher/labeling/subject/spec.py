"""What every section has that asks the model that the dictionary is of."""

from typing import Annotated

from pydantic import Field

from thresher.config import Spec


class SubjectSpec(Spec):
    """Runs the model that the dictionary is of in this process, with transformers."""

    model: Annotated[str, Field(json_schema_extra={"operational": True})]
    """Folder of the model that the dictionary is of. Its weights are hashed into the run and its answers."""
