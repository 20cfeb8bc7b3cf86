"""What people decide is tried on the parts of a broker without its doors, as the pipeline is."""

from tests.pipeline.conftest import impatient, in_line, notes

__all__ = ["impatient", "in_line", "notes"]
