"""What a fit records while it trains, and where else than in the store."""

from pydantic import Field

from thresher.config import Spec


class TrackingSpec(Spec):
    """Records while training. JSON lines are always kept beside the dictionary; MLflow follows MLFLOW_TRACKING_URI."""

    every_steps: int = Field(default=20, gt=0)
    """Steps between two records; the last step is always one."""
    tensorboard_dir: str | None = None
    """Local folder of the first worker's node for TensorBoard's event files, or null for none."""
