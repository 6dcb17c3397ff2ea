"""The circuit breaker, by a clock moved by hand."""

from service.platform.breaker import Breaker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_opens_probes_and_closes() -> None:
    clock = Clock()
    breaker = Breaker(2, clock=clock)
    assert breaker.closed
    assert breaker.allows()
    breaker.failed()
    assert not breaker.closed
    assert not breaker.allows()
    clock.now = 2.0
    assert breaker.allows()  # the probe
    assert not breaker.allows()  # everyone else goes on without
    breaker.failed()
    clock.now = 3.9
    assert not breaker.allows()
    clock.now = 4.0
    assert breaker.allows()
    breaker.succeeded()
    assert breaker.closed
    assert breaker.allows()
    assert breaker.allows()
