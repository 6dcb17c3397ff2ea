"""An alarm for the counts that claims go by: they are kept, so that a fault would stay until somebody looks."""

import structlog

from service.maintenance.store import Maintenance
from service.platform.resources import Platform
from service.platform.telemetry import LANE_FAULTS

log = structlog.get_logger()
SHOWN = 10


async def repair_lanes(platform: Platform) -> list[str]:
    """Compare the lanes with their jobs, and correct them. What was wrong is an error in the log and a metric."""
    faults = await Maintenance(platform.database).repair_lanes()
    if faults:
        LANE_FAULTS.inc(len(faults))
        log.error("lanes_repaired", faults=len(faults), first=faults[:SHOWN])
    return faults
