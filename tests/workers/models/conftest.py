from tests.workers.imaging.conftest import make_task, quarters

__all__ = ["make_task", "quarters"]
